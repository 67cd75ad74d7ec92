// The model at a glance.

import { $, fixed, h, say } from "./dom.js";

const STATES = { active: "learning", idle: "at rest", paused: "paused" };

export function showState(learning, reason) {
  const state = $("state");
  state.dataset.state = learning;
  say(state, STATES[learning] ?? learning);
  state.title = reason ?? "";
  say($("pause"), learning === "paused" ? "Resume" : "Pause");
  $("pause").dataset.next = learning === "paused" ? "resume" : "pause";
}

export function showOverview(now) {
  document.title = `edge-es · ${now.model ?? "no model"} · version ${now.version ?? 0}`;
  say($("model"), now.model ?? "");
  say($("version"), String(now.version ?? 0));
  say($("what"), now.ready ? `${now.model}, ${now.quantization} on ${now.device}` : "the model is loading");
  showState(now.learning);
  $("say-forgotten").dataset.answer = now.forgotten.answer;
  say($("forgotten"), now.forgotten.sentence);
  say($("learned"), now.learned);
  showTiles(now);
  $("target").max = String(now.version ?? 0);
}

const TILES = [
  ["steps this week", (now) => now.week.published],
  ["attempts refused", (now) => now.week.rejected],
  ["lessons waiting", (now) => now.events.pending],
  ["lessons learned", (now) => now.events.used],
  ["in review", (now) => now.events.review],
  ["set aside", (now) => now.events.set_aside],
  ["norm of the delta", (now) => fixed(now.delta_norm, 2)],
  ["walk ratio", (now) => fixed(now.walk_ratio, 2)],
];

function showTiles(now) {
  const place = $("tiles");
  if (!place.children.length) {
    place.append(...TILES.map(([name]) => h("div", {}, h("dt", {}, name), h("dd", {}))));
  }
  TILES.forEach(([, read], i) => say(place.children[i].lastChild, String(read(now))));
}
