// Elements without markup: text is text, whatever people wrote.

export const $ = (id) => document.getElementById(id);

/** h("button", {class: "quiet", onclick: f}, "Text", child, ...); what is null, false or undefined is left out. */
export function h(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  fill(made, given);
  made.append(...children.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return made;
}

/** The same for SVG. */
export function svg(tag, given = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(made, given);
  made.append(...children);
  return made;
}

function fill(made, given) {
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
}

/** A thumb, up or down; drawn, since not every machine has a font with one. */
export function thumb(up) {
  const hand = svg("path", { d: "M3.5 9.5h3v8h-3zM8.5 17.5v-8l3.2-6.4c1.5 0 2.2 1 1.9 2.5L13 8.5h3.6c1.1 0 1.8 1 1.5 2l-1.6 5.6c-.2.9-.9 1.4-1.8 1.4z" });
  return svg("svg", { viewBox: "0 0 21 21", class: up ? "thumb" : "thumb down", "aria-hidden": "true" }, hand);
}

/** Lets everything else that waits go first: input, frames, answers. */
export const others = () => new Promise((done) => setTimeout(done));

/** Sets a text where it differs, so that a screen reader is not told twice. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const fixed = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
export const when = (text) => WHEN.format(new Date(text));
export const clock = (date) => CLOCK.format(date);

for (const one of document.querySelectorAll("[data-close]")) {
  one.addEventListener("click", () => one.closest("dialog").close());
}
