// Elements out of values. Every text becomes a text node: nothing here is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "rect", "path", "line", "text", "title", "circle"]);

// h("p", {class: "quiet"}, "text", element, null) → element. Attributes that are null or false are left out.
export function h(tag, attributes, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// What has no shape of its own, or turns the text around it, is shown by its number.
const UNSEEN = /([\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb])/;

// A stranger's text: apart from what stands beside it, whichever way its script runs.
export function foreign(text, attributes) {
  const parts = String(text).split(UNSEEN);
  const shown = parts.map((part, place) =>
    place % 2 ? h("span", { class: "unseen" }, "U+" + part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")) : part,
  );
  return h("bdi", attributes, shown);
}

// Give `element` other children, but keep the focus where it was: on what has the same data-key.
export function fill(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const open = new Set([...element.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key));
  element.replaceChildren(...children.flat(Infinity).filter((child) => child));
  for (const one of element.querySelectorAll("details[data-key]")) if (open.has(one.dataset.key)) one.open = true;
  if (key !== undefined) [...element.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key)?.focus();
}

// Fill it only if what it is made from changed.
export function refill(element, made, make) {
  const said = JSON.stringify(made);
  if (element.made === said) return;
  element.made = said;
  fill(element, ...[make()].flat());
}

export const folderLink = (name, key) =>
  h("a", { href: "/folder?name=" + encodeURIComponent(name), "data-key": key ?? null, title: name.length > 60 ? name : null }, foreign(name));

export async function get(path, values = {}) {
  const answer = await fetch(path + "?" + new URLSearchParams(values), { headers: { accept: "application/json" } });
  if (answer.status === 401) location.assign("/login");
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error ?? answer.statusText);
  return found;
}
