// One folder: what is known of it, and each of its videos, before and after.

import { fill, foreign, get, h } from "./dom.js";
import { logList } from "./log.js";
import { failureOf, jobRow } from "./overview.js";
import { clock, interval, language, percent, plural, score, size, t, whole, word } from "./words.js";

export function folderPage(main) {
  const name = new URLSearchParams(location.search).get("name") ?? "";
  const head = h("div", {}), jobs = h("div", {}), failure = h("div", {}), videos = h("div", {}), gone = h("div", {}), log = h("div", {});
  main.className = "page";
  document.title = name + " · Animation AV1";
  main.replaceChildren(
    h("p", {}, h("a", { href: "/" }, "← " + t("Overview"))), h("h1", { class: "long" }, foreign(name)), head, failure, jobs, videos, gone, h("h2", {}, t("Log lines")), log,
  );
  let stamps = {}, asking = 0, last = 0;
  async function load() {
    const mine = ++asking;
    last = Date.now();
    try {
      const found = await get("/api/folder", { name, lang: language });
      if (mine !== asking) return;
      fill(head, headOf(found));
      fill(failure, found.failure ? h("section", { class: "card needs", "aria-label": t("Needs you") }, failureOf(found.failure, false)) : null);
      fill(videos, videosOf(found));
      fill(gone, goneOf(found));
    } catch (error) {
      fill(head, h("p", { class: "warn" }, foreign(error.message)));
    }
  }
  async function loadLog() {
    try {
      fill(log, logList((await get("/api/log", { text: name, level: "INFO" })).entries.slice(-50).reverse()));
    } catch (error) {
      fill(log, h("p", { class: "warn" }, foreign(error.message)));
    }
  }
  return {
    update(seen) {
      const before = stamps;
      stamps = seen.stamps ?? {};
      const mine = (seen.running ?? []).filter((job) => job.folder === name);
      fill(jobs, mine.length ? h("section", { class: "card", "aria-label": t("Running now") }, h("ul", { class: "jobs" }, mine.map(jobRow))) : null);
      if (before.queue !== stamps.queue || before.history !== stamps.history || Date.now() - last > 15000) load();
      if (before.log !== stamps.log) loadLog();
    },
  };
}

function headOf(found) {
  const item = found.item;
  const saved = item ? item.bytes_in - item.bytes_out : 0;
  const facts = item ? [
    h("span", { class: "status " + item.status }, word(item.status)),
    t("{} of {} published", item.done, plural(item.videos, "video")), size(item.size),
    item.bytes_in ? t("saved {} of {}", percent(saved, item.bytes_in), size(item.bytes_in)) : null,
    item.eta ? t("done about {}, between {} and {}", clock(item.eta.likely), clock(item.eta.earliest), clock(item.eta.latest)) : null,
  ] : [];
  return [
    h("p", { class: "facts" }, facts.filter(Boolean).map((one) => h("span", {}, one))),
    found.why.length
      ? h("details", { "data-key": "why", open: !item }, h("summary", { "data-key": "why" }, t("All that is known here")), h("ul", { class: "plain" }, found.why.map((line) => h("li", {}, foreign(line)))))
      : item ? null : h("p", { class: "quiet" }, t("Nothing is known of this folder here.")),
  ];
}

function goneOf(found) {
  if (!found.gone.length) return null;
  return h("section", { class: "card", "aria-label": t("Left the input") }, h("h2", {}, t("Left the input, still in the output")),
    h("ul", { class: "causes" }, found.gone.map((one) => h("li", {}, foreign(one.name), " ", h("span", { class: "quiet" }, one.since === null ? t("stays") : t("seen {}, is taken out by MIRROR", clock(one.since)))))));
}

function videosOf(found) {
  if (!found.videos.length) return h("p", { class: "quiet" }, t("The history has no video of this folder yet."));
  const head = [t("Video"), t("Before"), t("After"), t("Size"), t("Quality"), t("Streams"), t("Encode"), t("When")];
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": t("Videos") },
    h("table", { class: "videos" }, h("thead", {}, h("tr", {}, head.map((one, place) => h("th", { scope: "col", class: [3, 4, 6, 7].includes(place) ? "n" : null }, one)))), h("tbody", {}, found.videos.map(videoRow))));
}

function videoRow(video) {
  const stored = video.outcome === "stored", saved = video.bytes_in - video.bytes_out;
  const after = stored
    ? [video.encoder ? "AV1" : t("copied"), video.width ? `${video.width}×${video.height}` : "", video.encoder, video.crf === null ? "" : `CRF ${video.crf}`].filter(Boolean)
    : [];
  const quality = Object.entries(video.quality).map(([name, value]) => h("div", {}, foreign(name), " ", typeof value === "number" ? score(value) : ""));
  const encode = video.seconds.encode;
  return h("tr", { class: stored ? null : "bad" },
    h("th", { scope: "row" }, foreign(video.video), video.warnings ? h("ul", { class: "causes" }, video.warnings.split("\n").map((one) => h("li", {}, foreign(one)))) : null,
      stored ? null : h("div", { class: "cause" }, h("span", { class: "status failed" }, word(video.outcome)), " ", foreign(video.cause)),
      video.earlier.length ? h("details", { "data-key": "earlier " + video.video }, h("summary", {}, t("{} before this one", plural(video.earlier.length, "attempt"))), h("ul", { class: "causes" }, video.earlier.map((one) => h("li", {}, clock(one.ended), " ", foreign(one.cause))))) : null),
    h("td", {}, foreign(video.source_codec), video.duration_s ? h("div", { class: "quiet" }, interval(video.duration_s)) : null),
    h("td", {}, after.map((one) => h("div", {}, foreign(one)))),
    h("td", { class: "n" }, size(video.bytes_in), stored ? h("div", {}, "→ " + size(video.bytes_out)) : null, stored ? h("div", { class: "quiet" }, saved >= 0 ? "−" + percent(saved, video.bytes_in) : "+" + percent(-saved, video.bytes_in)) : null),
    h("td", { class: "n" }, quality),
    h("td", {}, stored ? [h("div", {}, t("{} kept", video.kept)), video.dropped ? h("div", { class: "warn" }, t("{} dropped", video.dropped)) : null] : null),
    h("td", { class: "n" }, encode ? [h("div", {}, interval(encode)), video.fps ? h("div", { class: "quiet" }, video.fps.toFixed(1) + " fps") : null] : null, video.worker ? h("div", { class: "quiet" }, foreign(video.worker)) : null),
    h("td", { class: "n", title: whole(video.ended) }, clock(video.ended)),
  );
}
