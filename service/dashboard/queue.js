// Feedback by state, newest first, and what a person may do with it.

import { get, post } from "./api.js";
import { $, h, say, thumb, when } from "./dom.js";

const PAGE = 20;
const STATES = [
  ["review", "In review", [["approve", "Approve", "primary"], ["reject", "Never learn it", "quiet"]]],
  ["pending", "Waiting", [["set_aside", "Set aside", "quiet"]]],
  ["set_aside", "Set aside", [["retry", "Try again", "primary"]]],
  ["used", "Learned", [["set_aside", "Set aside", "quiet"]]],
];
const KINDS = { demonstration: "a better answer", preference: "a choice", rating: "a rating", task: "a task", comment: "a comment" };

let state = "pending";
let picked = false; // by a person; until then the tab is the one with something to do
let trusted = false;
let counts = {};

export function setUp() {
  $("tabs").append(
    ...STATES.map(([name, label]) =>
      h("button", { type: "button", role: "tab", id: `tab-${name}`, "data-state": name, "aria-controls": "queue", onclick: () => choose(name), onkeydown: move },
        label, h("span", { class: "count" }, "–")),
    ),
  );
  mark();
}

function move(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const at = STATES.findIndex(([name]) => name === state);
  choose(STATES[(at + by + STATES.length) % STATES.length][0]);
  $(`tab-${state}`).focus();
}

function choose(name) {
  picked = true;
  state = name;
  mark();
  show();
}

function mark() {
  for (const [name] of STATES) {
    const tab = $(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === state));
    tab.tabIndex = name === state ? 0 : -1;
  }
  $("queue").setAttribute("aria-labelledby", `tab-${state}`);
  $("queue").removeAttribute("aria-label");
}

/** found: events by state. The list is read anew where its own number moved. */
export function showCounts(found, allowed) {
  const moved = found[state] !== counts[state] || allowed !== trusted;
  counts = { ...found };
  trusted = allowed;
  for (const [name] of STATES) say($(`tab-${name}`).lastChild, String(found[name] ?? 0));
  const busy = picked ? state : (["review", "pending", "used"].find((name) => found[name]) ?? "pending");
  if (busy !== state) {
    state = busy;
    mark();
    show();
  } else if (moved) show();
}

let asked = 0;

async function show() {
  const place = $("queue");
  if (!trusted) {
    place.replaceChildren(h("p", { class: "empty muted" }, "What people wrote is shown to holders of the admin token alone."));
    return;
  }
  const number = ++asked;
  let rows;
  try {
    rows = await page(null);
  } catch (error) {
    if (number === asked) place.replaceChildren(h("p", { class: "failed", role: "alert" }, error.message));
    return;
  }
  if (number !== asked) return;
  const focused = document.activeElement?.closest?.("#queue li")?.dataset.id;
  place.replaceChildren();
  if (state === "review" && rows.length) {
    place.append(h("div", { class: "row end" }, h("button", { type: "button", onclick: all }, `Approve all ${counts.review ?? ""}`)));
  }
  place.append(rows.length ? h("ul", {}, rows.map(entry)) : h("p", { class: "empty muted" }, "Nothing here."));
  more(rows);
  if (focused) place.querySelector(`li[data-id="${focused}"] button`)?.focus();
}

const page = async (after) => (await get(`/v1/feedback?newest=true&state=${state}&limit=${PAGE}${after ? `&after=${after}` : ""}`)).feedback;

function more(rows) {
  if (rows.length < PAGE) return;
  const button = h("button", { type: "button", class: "quiet", onclick: async () => {
    button.disabled = true;
    try {
      const next = await page(rows.at(-1).id);
      button.remove();
      $("queue").querySelector("ul").append(...next.map(entry));
      more(next);
    } catch (error) {
      button.disabled = false;
      button.after(h("p", { class: "failed", role: "alert" }, error.message));
    }
  } }, "Older ones");
  $("queue").append(button);
}

function entry(row) {
  const body = row.feedback;
  const line = h("p", { class: "lesson" });
  const place = h("li", { "data-id": row.id },
    h("p", { class: "kind" }, h("strong", {}, KINDS[row.kind] ?? row.kind), body?.tags?.source ? ` from ${body.tags.source}` : "", h("time", { datetime: row.received_at }, when(row.received_at))),
    line,
    row.reason && h("p", { class: "why" }, row.reason),
    row.used_in.length > 0 && h("p", { class: "why" }, `used by version ${row.used_in.slice(-6).join(", ")}`),
    h("div", { class: "row acts" }, STATES.find(([name]) => name === state)[2].map(([act, label, look]) =>
      h("button", { type: "button", class: look, "aria-label": `${label}: ${KINDS[row.kind] ?? row.kind} of ${when(row.received_at)}`, onclick: () => doIt(act, row, place) }, label))),
  );
  tell(line, body);
  return place;
}

async function tell(line, body) {
  if (!body) {
    line.replaceChildren(h("em", {}, "What it said was too old to be kept."));
    return;
  }
  let question = last(body.input);
  let answer = null;
  if (body.inference_id) {
    try {
      const found = await get(`/v1/inferences/${body.inference_id}`);
      question = last(found.input);
      answer = found.answers[0]?.text ?? null;
    } catch {
      question = `answer ${body.inference_id}`;
    }
  }
  const value = body.value ?? body.grader;
  const taught =
    typeof value === "boolean" ? [thumb(value), value ? " liked: " : " did not like: ", answer ?? ""]
    : typeof value === "number" ? `${value} for: ${answer ?? ""}`
    : value?.chosen !== undefined ? [h("ins", {}, value.chosen), " rather than ", h("del", {}, value.rejected)]
    : typeof value === "string" ? [answer && answer !== value ? [h("del", {}, answer), " → "] : "", h("ins", {}, value)].flat()
    : JSON.stringify(value);
  line.replaceChildren(h("q", {}, question ?? "a session"), " ", ...[taught].flat());
}

export function last(input) {
  if (!input) return null;
  const said = input.prompt ?? input.text ?? input.messages?.at(-1)?.content ?? null;
  return Array.isArray(said) ? said.map((part) => part.text ?? "").join("") : said;
}

async function doIt(act, row, place) {
  const buttons = [...place.querySelectorAll("button")];
  for (const one of buttons) one.disabled = true;
  try {
    await post(`/v1/feedback/${row.id}/${act}`);
    place.remove();
    $("queue").focus();
  } catch (error) {
    for (const one of buttons) one.disabled = false;
    place.querySelector(".failed")?.remove();
    place.append(h("p", { class: "failed", role: "alert" }, error.message));
  }
}

async function all() {
  try {
    await post("/v1/feedback/approve", { all: true });
    await show();
  } catch (error) {
    $("queue").prepend(h("p", { class: "failed", role: "alert" }, error.message));
  }
}
