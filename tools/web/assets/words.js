// The language of the page, and numbers, sizes and times as people read them.

let words = {};
export let language = "en";

const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
export const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private windows */ } };
export { kept };

export function chooseLanguage() {
  const wanted = kept("language") ?? (navigator.languages ?? [navigator.language]).find((one) => /^(zh|en)/i.test(one)) ?? "en";
  return /^zh/i.test(wanted) ? "zh" : "en";
}

export async function useLanguage(wanted) {
  words = wanted === "zh" ? await (await fetch("/api/texts?lang=zh")).json() : {};
  language = wanted;
  document.documentElement.lang = wanted === "zh" ? "zh-CN" : "en";
}

// A message with its arguments in place of {}, which a translation may number, or mark: {0!t} is a message itself, of {0!n}
// only the number is wanted.
export function t(text, ...values) {
  let place = 0;
  return (words[text] ?? text).replace(/\{(\d*)(?:!([tn]))?\}/g, (_, number, kind) => {
    const value = String(values[number === "" ? place++ : Number(number)] ?? "");
    return kind === "n" ? value.split(" ")[0] : value;
  });
}

// "1 video", "2 videos": a number with its noun, as an argument of t; a translation takes the number out of it by {0!n}.
export const plural = (value, one) => `${number(value)} ${value === 1 ? one : one + "s"}`;

// Words of state files: statuses and stages. Listed so that each has its translation.
const WORDS = () => ({
  pending: t("pending"), processing: t("processing"), completed: t("completed"), failed: t("failed"), cancelled: t("cancelled"),
  held: t("held"), waiting: t("waiting"), download: t("download"), encode: t("encode"), suspended: t("suspended"),
  verify: t("verify"), upload: t("upload"), ready: t("ready"), refused: t("refused"), silent: t("silent"), leaving: t("leaving"),
  new: t("new"), connect: t("connect"), open: t("open"), publish: t("publish"), stored: t("stored"), crashed: t("crashed"),
});
export const word = (name) => WORDS()[name] ?? name;

export function size(bytes) {
  let value = Math.abs(bytes);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return (bytes < 0 ? "−" : "") + (unit === "B" ? value.toFixed(0) : value.toFixed(1)) + " " + unit;
    value /= 1024;
  }
  return (bytes < 0 ? "−" : "") + value.toFixed(1) + " TiB";
}

export const number = (value) => new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en").format(value);
export const score = (value) => value.toFixed(value > 1 ? 1 : 4); // SSIM ends at 1
export const percent = (part, whole) => (whole ? Math.round((100 * part) / whole) : 0) + "%";

export function interval(seconds) {
  const rest = Math.max(0, Math.floor(seconds)), minutes = Math.floor(rest / 60), hours = Math.floor(minutes / 60);
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes % 60)}:${two(rest % 60)}` : `${two(minutes)}:${two(rest % 60)}`;
}

// As long as it takes, in one unit.
export function lasting(seconds) {
  const [value, name] = seconds >= 2 * 86400 ? [seconds / 86400, "day"] : seconds >= 2 * 3600 ? [seconds / 3600, "hour"]
    : seconds >= 120 ? [seconds / 60, "minute"] : [seconds, "second"];
  const shown = new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en", { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: 0 });
  return shown.format(Math.max(0, value));
}
export const ago = (seconds) => t("{} ago", lasting(seconds));

const two = (value) => String(value).padStart(2, "0");
// Today 04:20, another day 01-31 04:20, another year with that.
export function clock(epoch, now = Date.now() / 1000) {
  const then = new Date(epoch * 1000), today = new Date(now * 1000), time = `${two(then.getHours())}:${two(then.getMinutes())}`;
  if (then.toDateString() === today.toDateString()) return time;
  const day = `${two(then.getMonth() + 1)}-${two(then.getDate())} ${time}`;
  return then.getFullYear() === today.getFullYear() ? day : `${then.getFullYear()}-${day}`;
}
export const whole = (epoch) => new Date(epoch * 1000).toLocaleString(language === "zh" ? "zh-CN" : "en-GB");

// The texts of the page's own elements.
export function translatePage() {
  for (const element of document.querySelectorAll("[data-t]")) {
    element.dataset.text ??= element.textContent;
    element.textContent = t(element.dataset.text);
  }
  for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}
