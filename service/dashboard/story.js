// The story of a rollback: what was lost, which answers changed, and whose lessons they were.

import { get, post } from "./api.js";
import { $, fixed, h, say, when } from "./dom.js";
import { last } from "./queue.js";

const SHOWN = 12; // items and lessons at first

export async function showStory(version) {
  const dialog = $("story");
  say($("story-title"), `Version ${version} went back`);
  $("story-body").replaceChildren(h("p", { class: "muted" }, "…"));
  if (!dialog.open) dialog.showModal();
  try {
    const found = await get(`/v1/rollbacks/${version}`);
    $("story-body").replaceChildren(...told(found));
  } catch (error) {
    const text = error.status === 401 ? "The story quotes what people wrote: open this page by edge-es dashboard to read it." : error.message;
    $("story-body").replaceChildren(h("p", { class: "failed" }, text));
  }
}

function told(found) {
  const lost = found.suites.filter((one) => one.verdict === "dropped");
  const first = found.first_bad === null ? "" : ` The first bad version is ${found.first_bad}; ${found.last_good} was still good.`;
  const why = found.automatic
    ? `On ${when(found.at)} the probes of version ${found.before} showed that it had forgotten: ${lost.map((one) => `${one.suite} at ${fixed(one.retention)}`).join(", ")}. It went back to version ${found.target} by itself.${first}`
    : `On ${when(found.at)} someone went back from version ${found.before} to version ${found.target}. ${found.reason ?? ""}`;
  return [
    h("p", { class: "lead" }, why),
    ...part("Suites", found.suites.length, "No suite had been measured then.", () => suites(found.suites)),
    ...(found.automatic ? part("Answers that changed", found.items_changed, "None of those that are kept.", () => list(found.items, item)) : []),
    ...part("Lessons taken back", found.events_used, "None had been used between the two.", () => list(found.events, lesson)),
  ];
}

const part = (title, number, none, show) => [
  h("h3", {}, title, " ", h("span", { class: "count" }, String(number))),
  number ? show() : h("p", { class: "muted" }, none),
];

function suites(all) {
  const rows = [...all].sort((a, b) => (a.retention ?? 9) - (b.retention ?? 9));
  return h("table", {},
    h("thead", {}, h("tr", {}, ["suite", "before", "interval", "verdict", "after"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((one) =>
      h("tr", { "data-verdict": one.verdict }, h("th", { scope: "row" }, one.suite), h("td", {}, fixed(one.retention)),
        h("td", {}, one.ci_low === null ? "–" : `${fixed(one.ci_low)} to ${fixed(one.ci_high)}`), h("td", {}, one.verdict), h("td", {}, fixed(one.after))))));
}

function list(all, one) {
  const place = h("ul", { class: "cases" }, all.slice(0, SHOWN).map(one));
  if (all.length <= SHOWN) return place;
  const button = h("button", { type: "button", class: "quiet", onclick: () => {
    place.append(...all.slice(SHOWN).map(one));
    button.remove();
  } }, `Show ${all.length - SHOWN} more`);
  return h("div", {}, place, button);
}

const mark = (score) => (score === null ? "?" : score === 1 ? "right" : score === 0 ? "wrong" : fixed(score, 2));

const item = (one) =>
  h("li", {}, h("q", {}, one.asked ?? `${one.suite}, item ${one.item + 1}`), one.right && h("span", { class: "muted" }, ` (right: ${one.right})`),
    h("p", { class: "why" }, `${one.suite}: anchor ${mark(one.anchor)}, before ${mark(one.before)}, after ${mark(one.after)}`));

function lesson(one) {
  const aside = one.state === "set_aside";
  const place = h("li", {}, h("strong", {}, one.kind), " ", h("q", {}, last(one.input) ?? one.id),
    h("p", { class: "why" }, aside ? `set aside: ${one.reason ?? ""}` : `now ${one.state.replace("_", " ")}`));
  if (aside) {
    place.append(h("button", { type: "button", class: "quiet", onclick: async (event) => {
      event.target.disabled = true;
      try {
        await post(`/v1/feedback/${one.id}/retry`);
        event.target.replaceWith(h("p", { class: "thanks", role: "status" }, "It waits to be learned again."));
      } catch (error) {
        event.target.disabled = false;
        place.append(h("p", { class: "failed", role: "alert" }, error.message));
      }
    } }, "Try again"));
  }
  return place;
}
