// A conversation in which every answer says its version, and what people think of an answer becomes a lesson.

import { events, open, post, Refused } from "./api.js";
import { $, h, say, thumb } from "./dom.js";

let model = null;
let mayTeach = false;
let turns = []; // what was said so far, for "go on from above"; an answer that is corrected is changed in its place

export function setUp() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("ask").requestSubmit();
    }
  });
}

/** name: the model's; teach: whether feedback may be sent. */
export function showModel(name, teach) {
  if (model === null && name !== null) {
    $("keep").checked = name !== "pocket"; // pocket was made to answer one question
    $("send").disabled = false;
  }
  model = name;
  mayTeach = teach;
  document.body.classList.toggle("teaches", teach);
}

const mode = () => document.querySelector("input[name=mode]:checked").value;

async function ask() {
  const text = $("question").value.trim();
  if (!text || model === null || $("send").disabled) return;
  $("question").value = "";
  $("send").disabled = true;
  const messages = [...($("keep").checked ? turns : []), { role: "user", content: text }];
  const log = $("log");
  log.querySelector(".empty")?.remove();
  const answers = h("div", { class: "answers" });
  const turn = h("div", { class: "turn", "aria-busy": "true" }, h("p", { class: "asked" }, text), answers);
  log.append(turn);
  const wanted = { one: [[model, 1]], two: [[model, 2]], anchor: [[model, 1], [`${model}@0`, 1]] }[mode()];
  try {
    const said = await Promise.all(wanted.map(([name, number]) => stream(name, number, messages, answers)));
    const first = said[0][0];
    const last = { role: "assistant", content: first.text };
    turns = [...messages, last];
    if (said[0].length === 2) choice(said[0], answers, last);
    else for (const one of said.flat()) judge({ ...one, turn: last });
  } catch (error) {
    answers.append(h("p", { class: "failed", role: "alert" }, error.message));
    $("question").value ||= text; // to be sent again
  }
  turn.setAttribute("aria-busy", "false");
  $("send").disabled = false;
  log.scrollTop = log.scrollHeight;
}

/** Streams an answer of one model into cards; [{id, version, text, card}], a card a choice. */
async function stream(name, number, messages, place) {
  const anchor = name.endsWith("@0");
  const cards = Array.from({ length: number }, (_, i) => {
    const text = h("p", { class: "text" });
    const chip = h("span", { class: anchor ? "chip anchor" : "chip" }, "…");
    const card = h("article", { class: "answer", "aria-label": anchor ? "Answer of the anchor" : number > 1 ? `Answer ${i + 1}` : "Answer" },
      h("header", {}, chip), text, h("div", { class: "judge" }));
    place.append(card);
    return { card, chip, text };
  });
  const body = { model: name, messages, stream: true, ...(number > 1 ? { n: number, temperature: 1.2 } : { temperature: 0 }) };
  const answer = await open("/v1/chat/completions", { method: "POST", body });
  const version = Number(answer.headers.get("x-edge-es-version"));
  for (const { chip } of cards) say(chip, anchor ? "version 0, the anchor" : `version ${version}`);
  let id = null;
  const texts = cards.map(() => "");
  for await (const { data } of events(answer)) {
    if (!data || data === "[DONE]") continue;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(500, chunk.error.message);
    id = chunk.id;
    for (const one of chunk.choices) {
      texts[one.index] += one.delta.content ?? "";
      cards[one.index].text.textContent = texts[one.index];
    }
    $("log").scrollTop = $("log").scrollHeight;
  }
  return cards.map(({ card }, i) => ({ id, version, text: texts[i], card, anchor }));
}

/** Thumbs, and a better answer in its place. */
function judge(answer) {
  const place = answer.card.querySelector(".judge");
  if (!mayTeach || answer.anchor) return;
  const button = (label, text, value) =>
    h("button", { type: "button", class: "quiet", "aria-label": label, title: label, onclick: () => teach(place, answer, "thumbs", value, value ? "You liked it." : "You did not like it.") }, text);
  place.replaceChildren(
    button("Good answer", thumb(true), true),
    button("Bad answer", thumb(false), false),
    h("button", { type: "button", class: "quiet edit", onclick: () => edit(place, answer) }, "Edit the answer"),
  );
}

function edit(place, answer) {
  const area = h("textarea", { rows: 3, "aria-label": "The answer as it should be" });
  area.value = answer.text;
  place.replaceChildren(
    h("div", { class: "editor" }, area,
      h("div", { class: "row end" },
        h("button", { type: "button", class: "quiet", onclick: () => judge(answer) }, "Cancel"),
        h("button", { type: "button", class: "primary", onclick: async () => {
          const better = area.value.trim();
          if (better && await teach(place, answer, "demonstration", better, "It was shown your answer.")) answer.turn.content = better;
        } }, "Teach this"))),
  );
  area.focus();
}

/** Which of two answers is better. turn: of the conversation, which goes on with the better one. */
function choice(both, place, turn) {
  if (!mayTeach) return;
  if (both[0].text === both[1].text) {
    place.append(h("p", { class: "muted all" }, "Both answers are the same: there is nothing to choose."));
    return;
  }
  both.forEach((one, i) => {
    const pick = h("button", { type: "button", class: "pick", onclick: async () => {
      const value = { chosen: one.text, rejected: both[1 - i].text };
      if (!await teach(one.card.querySelector(".judge"), one, "preference", value, "You chose this one.", place)) return;
      one.card.classList.add("chosen");
      both[1 - i].card.querySelector(".judge").replaceChildren();
      turn.content = one.text;
    } }, "This one is better");
    one.card.querySelector(".judge").replaceChildren(pick);
  });
}

/** Sends a lesson, once; was it taken? Where it was not, what can be pressed and what was written stay. */
async function teach(place, answer, metric, value, thanks, all = place) {
  const buttons = [...all.querySelectorAll("button")];
  for (const one of buttons) one.disabled = true;
  place.querySelector(".failed")?.remove();
  try {
    const body = { inference_id: answer.id, metric_name: metric, value, tags: { source: "dashboard" } };
    const { feedback_id: id } = await post("/v1/feedback", body);
    place.replaceChildren(h("p", { class: "thanks", role: "status", "data-id": id }, `${thanks} That is a lesson now.`));
    return true;
  } catch (error) {
    for (const one of buttons) one.disabled = false;
    place.append(h("p", { class: "failed", role: "alert" }, error.message));
    return false;
  }
}
