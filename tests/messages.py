"""The messages to people in the code, found by ``ast``, and the catalogue that has their translations.

    .venv/bin/python3 -m tests.messages

writes ``tools/locale/zh.po`` anew: messages that it lacks come in with an empty translation, to be filled in by hand;
what no code says any more goes. ``tests/unit/test_messages.py`` holds both against each other.

A message is the first argument of ``ui``, ``term``, ``translated`` or ``message``, of an exception class of ours, the
help of a flag or a setting, what a finding of the doctor or of the check says. An f-string becomes a template, ``{}``
for what varies; a choice between two words becomes two templates.
"""

import ast
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tools.runtime.language import CATALOGUE, read_catalogue

ROOT = Path(__file__).resolve().parent.parent
MARKERS = {"ui", "term", "translated", "message"}
_EXCEPTIONS = {"PipelineError", "ConfigError", "ArgumentTypeError"}
_POSITIONS = {"Finding": (2, 3), "Problem": (1,), "_setting": (2,), "add_argument_group": (0, 1)}  # of messages
_KEYWORDS = {"help", "description", "epilog", "title"}
_PRINTERS = {"print", "exit"}
_WORD = re.compile(r"[A-Za-z][a-z]")  # one in capitals is a name, or a level of Nagios


def sources() -> list[Path]:
    return [ROOT / "config.py", *sorted((ROOT / "tools").rglob("*.py"))]


def exceptions(trees: Iterable[ast.AST]) -> set[str]:
    """Names of our exception classes, whose first argument a person reads."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees
        for node in ast.walk(tree)
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
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a in templates(node.left, names) for b in templates(node.right, names)]
    if isinstance(node, ast.Name) and node.id in names:
        others = {name: values for name, values in names.items() if name != node.id}
        return list(dict.fromkeys(text for value in names[node.id] for text in templates(value, others)))
    return ["{}"]


def _names(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """Variables that are given texts, and nothing else, in a function."""
    found: dict[str, list[ast.expr]] = {}
    odd = {node.arg for node in ast.walk(scope) if isinstance(node, ast.arg)}
    for node in ast.walk(scope):
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


def messages(paths: Iterable[Path] | None = None) -> dict[str, str]:
    """Each message of these files (None = of all), with the place where it first stands."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    errors = exceptions(trees.values())
    found: dict[str, str] = {}
    for path in paths or trees:
        for call, names in _calls(trees[path]):
            for node in _message_nodes(call, errors, path.name == "config.py"):
                for text in _prose(_texts(call, node, names)):
                    found.setdefault(text, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, Names]]:
    """Each call, with the variables of its function."""
    names = {}
    for scope in ast.walk(tree):  # from the outside to the inside
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            known = _names(scope)
            names.update({id(node): known for node in ast.walk(scope)})
    return ((node, names.get(id(node), {})) for node in ast.walk(tree) if isinstance(node, ast.Call))


def _texts(call: ast.Call, node: ast.expr, names: Names) -> list[str]:
    """A literal that is a template already is taken as it is."""
    found = templates(node, names)
    is_template = _name(call.func) == "ui" or (_name(call.func) == "message" and isinstance(node, ast.Constant))
    return [text.replace("{{", "{").replace("}}", "}") for text in found] if is_template else found


def bare_prints(path: Path) -> list[str]:
    """Where a text in words goes to a person without ``ui``."""
    found = []
    for call, names in _calls(ast.parse(path.read_text(encoding="utf-8"))):
        if _name(call.func) in _PRINTERS and call.args:
            texts = _prose(templates(call.args[0], names))
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
