// The queue: searched, filtered and sorted where it lies, so that ten thousand folders are as quick as ten.

import { fill, folderLink, foreign, get, h } from "./dom.js";
import { clock, language, number, size, t, whole, word } from "./words.js";

const ROWS = 25;
const STATUSES = ["processing", "pending", "failed", "completed", "held", "cancelled"];

export function queueTable() {
  const asked = { text: "", status: "", sort: "queue", reverse: "0", offset: 0, limit: ROWS };
  const search = h("input", { type: "search", placeholder: t("Search folders"), "aria-label": t("Search folders"), maxlength: 500 });
  const filter = h("div", { class: "chips", role: "group", "aria-label": t("Status") });
  const table = h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": t("Queue") });
  const pager = h("div", { class: "pager" });
  const element = h("section", { class: "card queue", "aria-labelledby": "title-queue" },
    h("div", { class: "bar" }, h("h2", { id: "title-queue" }, t("Queue")), search, filter), table, pager);
  let seen, waiting = false, asking = 0, said = 0;

  async function load() {
    waiting = false;
    said = Date.now();
    const mine = ++asking;
    try {
      const found = await get("/api/items", { ...asked, lang: language });
      if (mine === asking) show(found);
    } catch (error) {
      if (mine === asking) fill(table, h("p", { class: "warn" }, foreign(error.message)));
    }
  }
  const soon = (wait) => {
    if (!waiting) { waiting = true; setTimeout(load, wait); }
  };

  function show(found) {
    const sorted = (name) => (asked.sort === name ? (asked.reverse === "1" ? "descending" : "ascending") : null);
    const column = (name, title, kind) => h("th", { scope: "col", class: kind, "aria-sort": sorted(name) },
      h("button", { type: "button", "data-key": "sort " + name, onclick: () => sort(name) }, title, h("span", { "aria-hidden": "true" }, { ascending: " ▲", descending: " ▼" }[sorted(name)] ?? "")));
    const head = [
      column("status", t("Status")), column("folder", t("Folder")), column("videos", t("Videos"), "n"), column("size", t("Size"), "n"),
      column("saved", t("Saved"), "n"), column("time", t("Ended, or ETA"), "n"),
    ];
    const rows = found.rows.map(row);
    fill(table, rows.length
      ? h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))
      : h("p", { class: "quiet" }, asked.text || asked.status ? t("No folder matches.") : t("The queue is empty.")));
    const last = Math.min(found.total, asked.offset + ROWS);
    const move = (by, title, off) => h("button", { type: "button", "data-key": title, disabled: off, onclick: () => { asked.offset += by; load(); } }, title);
    fill(pager, h("span", { role: "status" }, found.total ? t("{} to {} of {}", number(asked.offset + 1), number(last), number(found.total)) : ""),
      found.total > ROWS ? [move(-ROWS, t("Previous"), asked.offset === 0), move(ROWS, t("Next"), last >= found.total)] : null,
      asked.sort !== "queue" ? h("button", { type: "button", "data-key": "order", onclick: () => { asked.sort = "queue"; asked.reverse = "0"; asked.offset = 0; load(); } }, t("Back to the order of the queue")) : null);
  }

  function sort(name) {
    asked.reverse = asked.sort === name ? (asked.reverse === "1" ? "0" : "1") : ["size", "saved", "time", "videos"].includes(name) ? "1" : "0";
    asked.sort = name;
    asked.offset = 0;
    load();
  }

  function choose(status) {
    asked.status = status;
    asked.offset = 0;
    chips();
    load();
  }

  function chips() {
    const chip = (status, title, count) => h("button", { type: "button", "data-key": "status " + status, "aria-pressed": String(asked.status === status), onclick: () => choose(status) }, title, count === undefined ? null : h("span", { class: "quiet" }, " " + number(count)));
    const total = Object.values(seen?.counts ?? {}).reduce((sum, one) => sum + one, 0);
    const counts = { ...seen?.counts, pending: (seen?.counts.pending ?? 0) - (seen?.held ?? 0), held: seen?.held };
    const shown = STATUSES.filter((one) => counts[one] || one === asked.status || ["processing", "pending", "failed", "completed"].includes(one));
    fill(filter, chip("", t("all"), total), shown.map((one) => chip(one, word(one), counts[one])));
  }

  let typed;
  search.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => { asked.text = search.value; asked.offset = 0; load(); }, 150);
  });

  return {
    element,
    update(now, changed) {
      const before = JSON.stringify([seen?.counts, seen?.held]);
      seen = now;
      if (before !== JSON.stringify([now.counts, now.held])) chips();
      if (changed) soon(said ? 300 : 0);
      else if (Date.now() - said > 15000) soon(0);
    },
    show(status) {
      choose(status);
      element.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
      filter.querySelector(`[data-key="status ${status}"]`)?.focus();
    },
  };
}

function row(item) {
  const when = item.eta ? "≈ " + clock(item.eta.likely) : item.ended ? clock(item.ended) : "";
  return h("tr", {},
    h("td", {}, h("span", { class: "status " + item.status }, word(item.status)), item.redo ? h("span", { class: "quiet" }, " " + t("(again)")) : null),
    h("td", { class: "folder" }, folderLink(item.folder, "folder " + item.folder), item.error && item.status === "failed" ? h("span", { class: "cause cut", title: item.error }, foreign(item.error)) : null),
    h("td", { class: "n" }, item.done < item.videos && item.done ? `${item.done}/${item.videos}` : String(item.videos)),
    h("td", { class: "n" }, size(item.size)),
    h("td", { class: "n" }, item.bytes_in ? item.saved_percent + "%" : ""),
    h("td", { class: "n", title: item.ended ? whole(item.ended) : item.eta ? t("between {} and {}", clock(item.eta.earliest), clock(item.eta.latest)) : null }, when),
  );
}
