// The end of the log, the latest line first, by level and text.

import { fill, foreign, get, h } from "./dom.js";
import { plural, t } from "./words.js";

export function logList(entries) {
  if (!entries.length) return h("p", { class: "quiet" }, t("No line matches."));
  return h("ol", { class: "log" }, entries.map((one) => h("li", { class: one.level },
    h("time", {}, one.time), h("span", { class: "level" }, one.level), h("span", { class: "quiet" }, foreign(one.program)), h("span", { class: "text" }, one.text.split("\n").map((line) => h("div", {}, foreign(line)))))));
}

export function logPage(main) {
  const asked = { level: "INFO", text: "" };
  const level = h("select", { "aria-label": t("Level") }, [["INFO", t("all lines")], ["WARNING", t("warnings and errors")], ["ERROR", t("errors")]].map(([value, title]) => h("option", { value }, title)));
  const search = h("input", { type: "search", placeholder: t("Search the log"), "aria-label": t("Search the log"), maxlength: 500 });
  const hold = h("button", { type: "button", "aria-pressed": "false" }, t("Hold"));
  const count = h("span", { class: "quiet", role: "status" });
  const list = h("div", { tabindex: 0, role: "region", "aria-label": t("Log") });
  main.className = "page";
  main.replaceChildren(h("div", { class: "bar" }, h("h1", {}, t("Log")), level, search, hold, count), list);
  let stamp, held = false, typed, asking = 0;
  async function load() {
    const mine = ++asking;
    try {
      const found = await get("/api/log", asked);
      if (mine !== asking) return;
      fill(count, t("{}, the latest first", plural(found.entries.length, "line")));
      fill(list, logList(found.entries.reverse()));
    } catch (error) {
      fill(list, h("p", { class: "warn" }, foreign(error.message)));
    }
  }
  level.addEventListener("change", () => { asked.level = level.value; load(); });
  search.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => { asked.text = search.value; load(); }, 150); });
  hold.addEventListener("click", () => { held = !held; hold.setAttribute("aria-pressed", String(held)); if (!held) load(); });
  load();
  return {
    update(seen) {
      if (seen.stamps && seen.stamps.log !== stamp) {
        if (stamp !== undefined && !held) load();
        stamp = seen.stamps.log;
      }
    },
  };
}
