// Which page this is, its language and colours, and the stream that keeps it up to date.

import { fill, h } from "./dom.js";
import { folderPage } from "./folder.js";
import { logPage } from "./log.js";
import { overviewPage } from "./overview.js";
import { chooseLanguage, keep, kept, language, t, translatePage, useLanguage } from "./words.js";

const PAGES = { "/": overviewPage, "/folder": folderPage, "/log": logPage };
const main = document.getElementById("main");
let stream, last;

function colour(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function connection(state) {
  const told = { live: t("live"), lost: t("connection lost, retrying") };
  const element = document.getElementById("link");
  element.className = "link " + state;
  fill(element, told[state] ?? "");
}

function listen(page) {
  stream?.close();
  stream = new EventSource("/api/events?lang=" + language);
  stream.addEventListener("overview", (event) => {
    last = JSON.parse(event.data);
    connection("live");
    page.update(last);
  });
  stream.onerror = () => connection("lost");
}

async function start() {
  await useLanguage(chooseLanguage());
  document.getElementById("language").value = language;
  translatePage();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === location.pathname) link.setAttribute("aria-current", "page");
  }
  const page = PAGES[location.pathname](main);
  if (last) page.update(last);
  listen(page);
}

const theme = document.getElementById("theme");
theme.value = kept("theme") ?? "";
colour(theme.value);
theme.addEventListener("change", () => { keep("theme", theme.value); colour(theme.value); });
document.getElementById("language").addEventListener("change", (event) => {
  keep("language", event.target.value);
  last = undefined;
  start();
});
start().catch((error) => fill(main, h("p", { class: "banner CRITICAL", role: "alert" }, String(error.message))));
