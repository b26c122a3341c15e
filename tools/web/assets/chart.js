// Two charts of the history, drawn as SVG: videos per bar of time, and what was saved.

import { fill, foreign, get, h } from "./dom.js";
import { clock, keep, kept, language, lasting, number, percent, size, t } from "./words.js";

const WIDE = 560, HIGH = 150, LEFT = 78, BOTTOM = 20, TOP = 8;

export function charts() {
  const body = h("div", { class: "charts-body" });
  const select = h("select", { "aria-label": t("Span of the charts") },
    [["day", t("24 hours")], ["week", t("7 days")], ["month", t("30 days")], ["year", t("1 year")]].map(([value, title]) => h("option", { value }, title)));
  select.value = kept("span") ?? "week";
  if (!select.value) select.value = "week";
  const element = h("section", { class: "card charts", "aria-labelledby": "title-charts" },
    h("div", { class: "bar" }, h("h2", { id: "title-charts" }, t("Over time")), select), body);
  let said = 0, asking = 0;
  async function load() {
    said = Date.now();
    const mine = ++asking;
    try {
      const found = await get("/api/charts", { span: select.value, lang: language });
      if (mine === asking) fill(body, drawn(found));
    } catch (error) {
      fill(body, h("p", { class: "warn" }, error.message));
    }
  }
  select.addEventListener("change", () => { keep("span", select.value); load(); });
  return { element, update(changed) { if (!said || (changed && Date.now() - said > 2000) || Date.now() - said > 60000) load(); } };
}

function drawn({ bars, width, workers, problem }) {
  const sum = (name) => bars.reduce((total, bar) => total + bar[name], 0);
  const stored = sum("stored"), saved = sum("bytes_in") - sum("bytes_out");
  if (!stored && !sum("failed")) return [h("p", { class: "quiet" }, problem ? foreign(problem) : t("Nothing was done in this time."))];
  let total = 0;
  const grown = bars.map((bar) => (total += bar.bytes_in - bar.bytes_out));
  const title = (bar) => `${clock(bar.begin)} – ${clock(bar.begin + width)}`;
  return [
    figure(t("Videos converted"), t("{} converted, failed attempts: {}", number(stored), number(sum("failed"))),
      columns(bars, width, (bar) => [bar.stored, bar.failed],
        (bar) => [title(bar), t("{} converted", bar.stored), t("failed attempts: {}", bar.failed), bar.paused_s >= 60 ? t("paused {}", lasting(bar.paused_s)) : ""].filter(Boolean).join("\n"), number)),
    figure(t("Space saved"), t("{} saved, {} of the sources", size(saved), percent(saved, sum("bytes_in"))),
      area(bars, width, grown, (bar, place) => `${title(bar)}\n${size(grown[place])}`, size)),
    workers.length > 1 ? table(workers) : null,
  ];
}

function figure(title, said, picture) {
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `${title}: ${said}`);
  return h("figure", {}, h("figcaption", {}, h("strong", {}, title), " ", h("span", { class: "quiet" }, said)), picture);
}

// The next round number, so that lines lie at 0, half and all of it.
function ceiling(value, steps) {
  const power = steps === 1024 ? 1024 ** Math.max(0, Math.floor(Math.log(value) / Math.log(1024))) : 1;
  const scaled = value / power, ten = 10 ** Math.floor(Math.log10(scaled));
  return power * ten * [1, 2, 4, 5, 10].find((one) => one * ten >= scaled - 1e-9);
}

function frame(bars, width, most, show) {
  const parts = [];
  for (const part of [0, 0.5, 1]) {
    const y = TOP + (HIGH - TOP - BOTTOM) * (1 - part);
    parts.push(h("line", { class: "grid", x1: LEFT, x2: WIDE, y1: y, y2: y }));
    if (most * part === Math.round(most * part) || show === size) parts.push(h("text", { class: "tick", x: LEFT - 6, y: y + 4, "text-anchor": "end" }, show(most * part)));
  }
  const every = Math.ceil(bars.length / 5), step = (WIDE - LEFT) / bars.length;
  bars.forEach((bar, place) => {
    if (place % every || place + every / 2 > bars.length) return;
    const day = new Date(bar.begin * 1000), text = width < 6 * 3600 ? clock(bar.begin, bar.begin) : `${String(day.getMonth() + 1).padStart(2, "0")}-${String(day.getDate()).padStart(2, "0")}`;
    parts.push(h("text", { class: "tick", x: LEFT + place * step, y: HIGH - 5 }, text));
  });
  return parts;
}

function columns(bars, width, values, told, show) {
  const most = Math.max(2, ceiling(Math.max(...bars.map((bar) => values(bar)[0] + values(bar)[1])), 10));
  const step = (WIDE - LEFT) / bars.length, room = HIGH - TOP - BOTTOM;
  const drawnBars = bars.map((bar, place) => {
    const [good, bad] = values(bar), x = LEFT + place * step, tall = (room * good) / most, worse = (room * bad) / most;
    return h("g", {}, h("title", {}, told(bar)),
      bar.paused_s > width / 20 ? h("rect", { class: "paused", x, y: TOP, width: step, height: room }) : null,
      h("rect", { class: "hit", x, y: TOP, width: step, height: room }),
      good ? h("rect", { class: "good", x: x + step * 0.12, y: HIGH - BOTTOM - tall, width: step * 0.76, height: tall }) : null,
      bad ? h("rect", { class: "bad", x: x + step * 0.12, y: HIGH - BOTTOM - tall - worse, width: step * 0.76, height: worse }) : null);
  });
  return h("svg", { viewBox: `0 0 ${WIDE} ${HIGH}` }, frame(bars, width, most, show), drawnBars);
}

function area(bars, width, values, told, show) {
  const most = ceiling(Math.max(1024, ...values), 1024), step = (WIDE - LEFT) / bars.length, room = HIGH - TOP - BOTTOM;
  const y = (value) => HIGH - BOTTOM - (room * Math.max(0, value)) / most;
  const points = values.map((value, place) => `${(LEFT + (place + 1) * step).toFixed(1)} ${y(value).toFixed(1)}`);
  const line = `M${LEFT} ${y(0)}L` + points.join("L");
  return h("svg", { viewBox: `0 0 ${WIDE} ${HIGH}` }, frame(bars, width, most, show),
    h("path", { class: "area", d: `${line}L${WIDE} ${y(0)}Z` }), h("path", { class: "curve", d: line }),
    bars.map((bar, place) => h("g", {}, h("title", {}, told(bar, place)), h("rect", { class: "hit", x: LEFT + place * step, y: TOP, width: step, height: room }))));
}

function table(workers) {
  const head = [t("Worker"), t("Converted"), t("Failed attempts"), t("Sources"), t("Hours of encoding")];
  const rows = workers.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name ? h("bdi", {}, one.name) : t("this machine")),
    [number(one.stored), number(one.failed), size(one.bytes_in), (one.encode_s / 3600).toFixed(1)].map((value) => h("td", { class: "n" }, value))));
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": t("Workers in this time") },
    h("table", {}, h("caption", { class: "sr-only" }, t("Workers in this time")), h("thead", {}, h("tr", {}, head.map((one, place) => h("th", { scope: "col", class: place ? "n" : null }, one)))), h("tbody", {}, rows)));
}
