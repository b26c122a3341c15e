// The first page: is it healthy, what runs, when is it done, what needs me, what did I gain; then the queue and charts.

import { charts } from "./chart.js";
import { folderLink, foreign, h, refill } from "./dom.js";
import { queueTable } from "./queue.js";
import { ago, clock, interval, lasting, number, plural, size, t, word } from "./words.js";

const phone = matchMedia("(max-width: 600px)");
const few = () => (phone.matches ? 2 : 6); // jobs, so that all five answers are on the first screen

const section = (name, title, ...children) => {
  const body = h("div", { class: "body" }, ...children);
  return [h("section", { class: "card " + name, "aria-labelledby": "title-" + name }, h("h2", { id: "title-" + name }, title), body), body];
};

export function overviewPage(main) {
  const health = h("section", { class: "banner", "aria-label": t("Health") });
  const [running, runningBody] = section("running", t("Running now"));
  const [done, doneBody] = section("done", t("Done"));
  const [needs, needsBody] = section("needs", t("Needs you"));
  const [gained, gainedBody] = section("gained", t("Gained"));
  const [workers, workersBody] = section("workers", t("Workers"));
  const [hub, hubBody] = section("hub", t("Hub requests"));
  workers.hidden = hub.hidden = true;
  const queue = queueTable();
  const graphs = charts();
  main.className = "overview";
  main.replaceChildren(
    h("h1", { class: "sr-only" }, t("Overview")), health, running, done, gained, needs, workers, hub, queue.element, graphs.element,
  );
  let stamps = {};
  return {
    update(seen) {
      if (seen.error) {
        health.className = "banner CRITICAL";
        refill(health, seen, () => h("p", {}, foreign(seen.error)));
        return;
      }
      health.className = "banner " + seen.health.level;
      refill(health, [seen.health, seen.pause], () => healthOf(seen));
      refill(runningBody, [seen.running, seen.places, seen.counts.processing], () => runningOf(seen));
      refill(doneBody, [seen.eta, seen.left, seen.pause, Math.floor(seen.now / 60)], () => doneOf(seen));
      refill(needsBody, [seen.failed, seen.counts.failed, seen.pause, seen.counts.cancelled], () => needsOf(seen, queue));
      refill(gainedBody, [seen.gain, seen.quality, seen.reused], () => gainedOf(seen));
      workers.hidden = !seen.workers.length;
      refill(workersBody, [seen.workers, Math.floor(seen.now / 5)], () => workersOf(seen));
      hub.hidden = !seen.hub.length;
      refill(hubBody, [seen.hub, Math.floor(seen.now / 5)], () => hubOf(seen));
      const before = stamps;
      stamps = seen.stamps;
      queue.update(seen, before.queue !== stamps.queue);
      graphs.update(before.history !== stamps.history);
    },
  };
}

function healthOf(seen) {
  const level = { OK: t("OK"), WARNING: t("Warning"), CRITICAL: t("Critical") }[seen.health.level];
  const said = seen.health.problems.length ? seen.health.problems.map((one) => foreign(one.text)) : [t("everything works")];
  return [
    h("p", { class: "level" }, h("strong", {}, level), h("span", {}, ...said.flatMap((one, place) => (place ? ["; ", one] : [one])))),
    h("p", { class: "pulse" }, seen.health.pulse.map((line) => h("span", {}, foreign(line)))),
  ];
}

export function jobRow(job) {
  const name = job.video.slice(job.video.lastIndexOf("/") + 1);
  const done = Math.max(0, Math.min(100, job.percent ?? 0));
  const numbers = [
    job.percent === null ? "" : done.toFixed(0) + "%",
    job.fps !== null && job.stage === "encode" ? job.fps.toFixed(1) + " fps" : "",
    job.speed === null ? "" : job.stage === "encode" ? job.speed.toFixed(2) + "×" : (job.speed / 1e6).toFixed(1) + " MB/s",
    job.eta_s === null ? "" : t("{} left", interval(job.eta_s)),
    job.done === null ? "" : "≈ " + clock(job.done),
    job.attempt > 1 ? t("attempt {}", job.attempt) : "",
  ];
  return h("li", { class: "job" },
    h("span", { class: "stage " + job.stage }, word(job.stage)),
    h("span", { class: "cut" }, folderLink(job.folder, "job " + job.video)),
    h("span", { class: "numbers" }, numbers.filter(Boolean).join(" · ")),
    h("span", { class: "file cut quiet" }, foreign(name), job.worker ? [" · ", foreign(job.worker)] : null),
    job.percent === null ? null : h("progress", { max: 100, value: done, "aria-label": t("Progress of {}", name) }),
  );
}

function runningOf(seen) {
  const jobs = seen.running;
  if (!jobs.length) return h("p", { class: "quiet" }, t("Nothing is running."));
  const encodes = jobs.filter((job) => job.stage === "encode").length;
  const rows = jobs.map(jobRow);
  return [
    h("p", { class: "quiet" }, t("{} of {} busy, {} in work", encodes, plural(seen.places, "encode slot"), plural(jobs.length, "video"))),
    h("ul", { class: "jobs" }, rows.slice(0, few())),
    rows.length > few()
      ? h("details", { "data-key": "more jobs" }, h("summary", { "data-key": "more jobs" }, t("{} more", rows.length - few())), h("ul", { class: "jobs" }, rows.slice(few())))
      : null,
  ];
}

function doneOf(seen) {
  const eta = seen.eta.queue;
  const left = t("left: {} in {}", plural(seen.left.videos, "video"), plural(seen.left.folders, "folder"));
  if (!seen.left.folders) return [h("p", { class: "big" }, t("All done")), h("p", { class: "quiet" }, t("Nothing waits."))];
  const pause = seen.pause && !seen.eta.if_resumed ? h("p", { class: "warn" }, foreign(seen.pause)) : null;
  if (!eta) return [h("p", { class: "big" }, t("unknown")), pause, h("p", { class: "quiet" }, t("until a video has been converted here")), h("p", { class: "quiet" }, left)];
  return [
    h("p", { class: "big" }, "≈ " + clock(eta.likely, seen.now)),
    pause,
    h("p", {}, seen.eta.if_resumed ? t("if resumed now: in {}", lasting(eta.likely - seen.now)) : t("in {}", lasting(eta.likely - seen.now))),
    h("p", { class: "quiet" }, t("between {} and {}", clock(eta.earliest, seen.now), clock(eta.latest, seen.now))),
    h("p", { class: "quiet" }, left),
  ];
}

export function failureOf(item, link = true) {
  return [
    link ? h("p", { class: "cut" }, folderLink(item.folder, "failed " + item.folder)) : null,
    h("p", { class: "cause" }, foreign(item.cause)),
    item.videos.length ? h("ul", { class: "causes" }, item.videos.map((one) => h("li", {}, foreign(one.path.slice(one.path.lastIndexOf("/") + 1)), ": ", foreign(one.cause)))) : null,
    item.more ? h("p", { class: "quiet" }, t("{} more", item.more)) : null,
    item.command ? h("p", {}, h("code", { class: "command" }, foreign(item.command))) : h("p", { class: "quiet" }, t("Upload a better file: trying again changes nothing.")),
  ];
}

function needsOf(seen, queue) {
  const failed = seen.counts.failed;
  const byHand = seen.pause && seen.eta.if_resumed;
  const resume = byHand ? [h("p", { class: "warn" }, foreign(seen.pause)), h("p", {}, h("code", { class: "command" }, "python3 tools/queue_processor.py --resume"))] : [];
  if (!failed) return resume.length ? resume : h("p", { class: "quiet" }, t("Nothing. No folder has failed."));
  const shown = phone.matches ? 1 : 2, hidden = failed - shown;
  return [
    ...resume,
    h("p", { class: "count" }, h("strong", {}, number(failed)), " ", failed === 1 ? t("folder failed") : t("folders failed")),
    h("ul", { class: "failures" }, seen.failed.slice(0, shown).map((item) => h("li", {}, failureOf({ ...item, videos: item.videos.slice(0, 1), more: item.more + Math.max(0, item.videos.length - 1) })))),
    hidden > 0 ? h("button", { type: "button", "data-key": "all failed", onclick: () => queue.show("failed") }, t("Show all {} failed folders", number(failed))) : null,
  ];
}

function gainedOf(seen) {
  const gain = seen.gain, saved = gain.bytes_in - gain.bytes_out;
  if (!gain.videos) return h("p", { class: "quiet" }, t("No video has been converted yet."));
  return [
    h("p", { class: "big" }, size(Math.abs(saved))),
    h("p", {}, saved >= 0 ? t("saved, {} of {}", gain.saved_percent + "%", size(gain.bytes_in)) : t("grown, {} of {}", -gain.saved_percent + "%", size(gain.bytes_in))),
    h("p", { class: "quiet" }, t("{} converted in all", plural(gain.videos, "video"))),
    gain.run.videos ? h("p", { class: "quiet" }, ofRun(gain.run)) : null,
    seen.quality.map(([name, shown, videos]) => h("p", { class: "quiet" }, foreign(name), " ", foreign(shown), " · ", t("mean of the last {}", plural(videos, "video")))),
    seen.reused.videos ? h("p", { class: "quiet" }, t("{} used again, {} of work spared", plural(seen.reused.videos, "result"), lasting(seen.reused.seconds_saved))) : null,
  ];
}

function ofRun(run) {
  const saved = run.bytes_in - run.bytes_out;
  const values = [size(Math.abs(saved)), Math.abs(run.saved_percent), size(run.bytes_in), plural(run.videos, "video")];
  return saved >= 0 ? t("Saved in this run: {} ({}%) of {} in {}", ...values) : t("Grown in this run: by {} ({}%) from {} in {}", ...values);
}

function workersOf(seen) {
  const head = [t("Worker"), t("State"), t("Slots"), "fps", t("Seen"), t("Encodes")];
  const rows = seen.workers.map((one) => h("tr", {},
    h("th", { scope: "row" }, foreign(one.name)),
    h("td", {}, h("span", { class: "status " + one.state }, word(one.state)), one.cause ? [" ", foreign(one.cause)] : null),
    h("td", { class: "n" }, number(one.slots)),
    h("td", { class: "n" }, one.fps === null ? "" : one.fps.toFixed(1)),
    h("td", {}, ago(seen.now - one.last_seen)),
    h("td", {}, (one.encoding ?? []).map((path, place) => [place ? ", " : "", foreign(path.slice(path.lastIndexOf("/") + 1))])),
  ));
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": t("Workers") }, h("table", {}, h("thead", {}, h("tr", {}, head.map((one, place) => h("th", { scope: "col", class: place === 2 || place === 3 ? "n" : null }, one)))), h("tbody", {}, rows)));
}

function hubOf(seen) {
  return h("ul", { class: "plain" }, seen.hub.map((one) => h("li", {},
    h("span", { class: "status " + one.state }, word(one.kind)), " ", foreign(one.about), " ",
    h("span", { class: "quiet" }, one.until !== null ? t("waits until {}", clock(one.until, seen.now)) : one.since !== null ? t("asked {} ago", lasting(seen.now - one.since)) : "", one.cause ? [" ", foreign(one.cause)] : null),
  )));
}
