"""The messages to people in the code, found by ``ast``, and the catalogue that has their translations.

    .venv/bin/python3 -m tests.messages

writes ``tools/locale/zh.po`` anew: messages that it lacks come in with an empty translation, to be filled in by hand;
what no code says any more goes. ``tests/unit/test_messages.py`` holds both against each other.

What the pages of the dashboard say is found by ``tools/web/texts.py``.

A message is the first argument of ``ui``, ``term``, ``translated`` or ``message``, of an exception class of ours, the
help of a flag or a setting, what a finding of the doctor or of the check says; and every other text of several words
that is no log line, pattern or docstring, and not listed below. An f-string becomes a template, ``{}`` for what varies;
a choice between two words becomes two templates.
"""

import ast
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from tools.runtime.language import CATALOGUE, read_catalogue
from tools.web.texts import ASSETS, texts_of

ROOT = Path(__file__).resolve().parent.parent
MARKERS = {"ui", "said", "term", "heading", "translated", "message"}
_EXCEPTIONS = {"PipelineError", "ConfigError", "ArgumentTypeError"}
_POSITIONS = {"Finding": (2, 3), "Problem": (1,), "_setting": (2,), "add_argument_group": (0, 1)}  # of messages
_KEYWORDS = {"help", "description", "epilog", "title"}
_PRINTERS = {"print", "exit"}
_NOT_FOR_PEOPLE = {"debug", "info", "warning", "error", "exception", "compile", "search", "match", "fullmatch", "sub"}
_NOT_FOR_PEOPLE |= {"plural", "fields", "TypeVar", "cast", "setitem"}
# What they say goes to the log alone; entry.py runs under any Python, and says its two lines in both languages.
_LOG_FILES = {
    "tools/report/metrics.py",
    "tools/processor/reporting.py",
    "tools/env_watch.py",
    "tools/report/monitor_log.py",
    "tools/entry.py",
}
_LOG_FILES |= {"tools/report/metrics.py"}  # what Prometheus keeps
_LOG_FILES |= {"tools/core/card.py", "tools/core/columns.py"}  # the page of a dataset, which is in both languages
_OTHER_FOLDERS = {"hub_server"}  # what it answers is English, as the hub's is
_SQL = re.compile(r"\s*(default-src|SELECT|CREATE|INSERT|UPDATE|DELETE|PRAGMA|BEGIN|ATTACH|ALTER|DROP) ")
_SENTENCE = re.compile(r"[a-z]{2,}[^\s\w]* +[a-z{]|[a-z}] [a-z]{2}")
_WORD = re.compile(r"[A-Za-z][a-z]")  # one in capitals is a name, or a level of Nagios


# Texts of several words that no person reads, or that are not in English for them.
NOT_MESSAGES = {
    "# timestamp format v2",  # to mkvmerge
    "Closed captions ({})",  # the name of a track
    "CEA-708 service {}",  # as the standard calls it
    "Bar data",
    "to be read",
    "Film grain parameters",  # ffprobe says so, and this
    "Active format description",
    "mp4 mkv avi mov wmv flv webm m4v rmvb rm ts m2ts mts mpg mpeg vob ogv 3gp asf divx f4v",
    "1\n00:00:00,500 --> 00:00:03,000\n你好, 世界\n\n2\n00:00:03,200 --> 00:00:05,500\nHello, world\n",
    "no token",  # to start_monitoring.sh
    "{} fps",
    "{} fps {}",
    "{} fps {}x {}",
    "{} fps ETA {}",
    "{} fps {}x ETA {}",
    "Bearer {}",
    "landlock: {}",
    "in={} out={} quarantined={}",
    "    {}python3 tools/queue_processor.py --retry {}",
    "python3 tools/queue_processor.py --retry {}",
    "unknown host",  # answers of the dashboard to programs
    "another origin",
    "a token is needed",
    "too many pages are open",
    "    bash start_monitoring.sh",
    "bash start_monitoring.sh",
    "LOG_DIR={} python3 {}",
    "ended: {}",  # in the log, as the next one
    "an unexpected error, which is a bug: {}: {}",
    "worker %s is suspended: repeated failures of its own: %s",
    "animation node",
    "slots={}, number={}",
    "Mastering display metadata",  # ffprobe's words, and ffmpeg's
    "Content light level metadata",
    "DOVI configuration record",
    "Conversion failed",
    "Error parsing option",
    "error while decoding",
    "no such table",
    "non monotonically increasing dts to muxer",
    "cover {}.{}",  # names of attachments
    "attachment {}",
    "Add {} of the root",  # messages of commits
    "Add {} of {}",
    "Add a dataset card",
    "Restore lines of {} that were added meanwhile",
    "Remove {} of the root that left {}",
    "Remove {} of {} that left {}",
    "Restore what was added meanwhile",
    "Restore the dataset card that was edited meanwhile",
    "{} {} {} ffmpeg {}{} ({})",  # rows of a table
    "{} {} {} ffmpeg {}{}",
}


def sources() -> list[Path]:
    return [ROOT / "config.py", *sorted((ROOT / "tools").rglob("*.py"))]


@cache
def _tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache  # most are walked over several times
def _walk(node: ast.AST) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(node))


def exceptions(trees: Iterable[ast.AST]) -> set[str]:
    """Names of our exception classes, whose first argument a person reads."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees
        for node in _walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = set(_EXCEPTIONS)
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found


Names = Mapping[str, list[ast.expr]]
"""What a function gives to its variables."""


def templates(node: ast.expr, names: Names) -> list[str]:
    """Every text that an expression can give, ``{}`` for what can't be told."""
    if isinstance(node, ast.Constant):
        return [node.value.replace("{", "{{").replace("}", "}}")] if isinstance(node.value, str) else ["{}"]
    if isinstance(node, ast.JoinedStr):
        made = ("".join(parts) for parts in itertools.product(*(templates(part, names) for part in node.values)))
        return [text.replace("{}{}", "{}") for text in made]  # nobody could tell where one ends
    if isinstance(node, ast.FormattedValue):
        return templates(node.value, names) if node.conversion == -1 and node.format_spec is None else ["{}"]
    if isinstance(node, ast.IfExp):
        return [*templates(node.body, names), *templates(node.orelse, names)]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in templates(value, names)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a in templates(node.left, names) for b in templates(node.right, names)]
    if isinstance(node, ast.Name) and node.id in names:
        others = {name: values for name, values in names.items() if name != node.id}
        return list(dict.fromkeys(text for value in names[node.id] for text in templates(value, others)))
    return ["{}"]


def _names(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """Variables that are given texts, and nothing else, in a function."""
    found: dict[str, list[ast.expr]] = {}
    odd = {node.arg for node in _walk(scope) if isinstance(node, ast.arg)}
    for node in _walk(scope):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            odd |= set() if node.id in found else {node.id}
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            odd.add(node.target.id)
    kinds = (ast.Constant, ast.JoinedStr, ast.IfExp, ast.BinOp)
    return {
        name: values
        for name, values in found.items()
        if name not in odd and all(isinstance(value, kinds) for value in values)
    }


def _prose(texts: Iterable[str]) -> Iterator[str]:
    return (text for text in texts if _WORD.search(text.replace("{}", "")))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _message_nodes(call: ast.Call, errors: set[str], is_config: bool) -> Iterator[ast.expr]:
    name = _name(call.func)
    if call.args and (name in MARKERS or name in errors or (is_config and name == "ValueError")):
        yield call.args[0]
    for place in _POSITIONS.get(name, ()):
        if place < len(call.args):
            yield call.args[place]
    yield from (word.value for word in call.keywords if word.arg in _KEYWORDS)


def messages() -> dict[str, str]:
    """Each message of the code, with the place where it first stands."""
    trees = {path: _tree(path) for path in sources()}
    errors = exceptions(trees.values())
    found: dict[str, str] = {}
    for path, tree in trees.items():
        scopes, taken = _scopes(tree), set(map(id, _other_texts(tree)))
        nodes: list[tuple[ast.expr, Iterable[str]]] = []
        for call in (node for node in _walk(tree) if isinstance(node, ast.Call)):
            for node in _message_nodes(call, errors, path.name == "config.py"):
                taken |= {id(part) for part in _walk(node)}
                made = _texts(call, node, scopes.get(id(node), {}))
                nodes.append((node, made if _name(call.func) == "message" else _prose(made)))
                for part in _walk(node):
                    taken |= _parts_of_variable(part, scopes)
        if path.parent.name not in _OTHER_FOLDERS and str(path.relative_to(ROOT)) not in _LOG_FILES:
            nodes += [
                (node, _sentences(templates(node, scopes.get(id(node), {})))) for node in _rest(tree, taken, scopes)
            ]
        for node, texts in nodes:
            for text in texts:
                found.setdefault(text, f"{path.relative_to(ROOT)}:{node.lineno}")
    for path in sorted((*ASSETS.glob("*.js"), *ASSETS.glob("*.html"))):
        for text in texts_of(path.read_text(encoding="utf-8")):
            found.setdefault(text, str(path.relative_to(ROOT)))
    return found


def _parts_of_variable(node: ast.AST, scopes: Mapping[int, Names]) -> set[int]:
    """What a variable is given is part of the message that it stands in."""
    values = scopes.get(id(node), {}).get(node.id, ()) if isinstance(node, ast.Name) else ()
    return {id(part) for value in values for part in _walk(value)}


def _rest(tree: ast.AST, taken: set[int], scopes: Mapping[int, Names]) -> list[ast.expr]:
    """Texts of which nothing tells what they are: the outermost expressions that are not ``taken``."""
    found: list[ast.expr] = []
    for node in _walk(tree):
        if isinstance(node, ast.JoinedStr):
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    taken |= _parts_of_variable(part.value, scopes)
    for node in _walk(tree):  # from the outside to the inside
        if not isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.IfExp | ast.BoolOp):
            continue
        if id(node) not in taken and set(templates(node, {})) != {"{}"}:
            inner = [part for part in _walk(node) if isinstance(part, ast.Call)]
            within = {id(part) for call in inner for part in _walk(call)}
            taken |= {id(part) for part in _walk(node)} - within
            found.append(node)
    return found


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    found = (text for text in texts if _SENTENCE.search(text) and text not in NOT_MESSAGES)
    return (text for text in found if not _SQL.match(text) and not text.endswith(" "))  # such is a beginning


def _other_texts(tree: ast.AST) -> Iterator[ast.AST]:
    """What is in docstrings, annotations, log lines and patterns."""
    for node in _walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        elif isinstance(node, ast.Call) and _name(node.func) in _NOT_FOR_PEOPLE:
            yield from _walk(node)
        for name in ("annotation", "returns"):
            if isinstance(note := getattr(node, name, None), ast.AST):
                yield from _walk(note)


def _scopes(tree: ast.AST) -> dict[int, Names]:
    """By the id of a node, the variables of its function."""
    names: dict[int, Names] = {}
    for scope in _walk(tree):  # from the outside to the inside
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            known = _names(scope)
            names.update({id(node): known for node in _walk(scope)})
    return names


def _texts(call: ast.Call, node: ast.expr, names: Names) -> list[str]:
    """A literal that is a template already is taken as it is."""
    found = templates(node, names)
    name = _name(call.func)
    is_template = name in {"ui", "said", "heading", "term"} or (name == "message" and isinstance(node, ast.Constant))
    return [text.replace("{{", "{").replace("}}", "}") for text in found] if is_template else found


def bare_prints(path: Path) -> list[str]:
    """Where a text in words goes to a person without ``ui``."""
    found = []
    tree = _tree(path)
    scopes = _scopes(tree)
    for call in (node for node in _walk(tree) if isinstance(node, ast.Call)):
        if _name(call.func) in _PRINTERS and call.args:
            texts = _prose(templates(call.args[0], scopes.get(id(call), {})))
            found += [f"{path.relative_to(ROOT)}:{call.lineno} {text}" for text in texts]
    return found


def main() -> int:
    known, there = read_catalogue(CATALOGUE), messages()
    head = CATALOGUE.read_text(encoding="utf-8").partition("\n\n")[0]
    entries = [f'msgid "{_quoted(text)}"\nmsgstr "{_quoted(known.get(text, ""))}"\n' for text in sorted(there)]
    CATALOGUE.write_text("\n".join([head + "\n", *entries]), encoding="utf-8")
    missing = [text for text in there if not known.get(text)]
    print(f"{len(there)} messages, {len(missing)} without translation, {len(known.keys() - there.keys())} removed")
    return 1 if missing else 0


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


if __name__ == "__main__":
    sys.exit(main())
