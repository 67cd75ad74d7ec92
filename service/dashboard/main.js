// The page: what is read when, and what the news of the daemon make it read again.

import { forget, get, takeToken, token } from "./api.js";
import * as charts from "./charts.js";
import * as chat from "./chat.js";
import * as controls from "./controls.js";
import { $, clock, h, others, say } from "./dom.js";
import { follow } from "./live.js";
import { showOverview, showState } from "./overview.js";
import * as queue from "./queue.js";
import { showStory } from "./story.js";

const REST = 400; // ms between two readings, however much happens
const LONGEST_REST = 10000; // ms, after refusals
const NEWS = 30; // lines kept
const PATIENCE = 1000; // ms that the stream may take to stand before the page is filled without it

const STALE = "The token of this page is not valid any more: open it anew by edge-es dashboard. Until then you can look and chat.";

let trusted = false;
let range = 0; // how many of the newest versions are shown; 0: all
let newest = 0;

async function readOverview() {
  const now = await get("/v1/overview");
  newest = now.version ?? 0;
  showOverview(now);
  await others();
  charts.showSuites(now.suites);
  chat.showModel(now.model, trusted);
  queue.showCounts(now.events, trusted);
}

async function readHistory() {
  const first = range ? Math.max(0, newest - range) : 0;
  await charts.showHistory(await get(`/v1/history?first=${first}&points=240`), showStory);
}

let rest = REST;
let reading = false;
let again = false;

/** Reads all of it; when much happens, once in REST ms, and once more at the end. */
async function refresh() {
  again = true;
  if (reading) return;
  reading = true;
  while (again) {
    again = false;
    try {
      await readOverview();
      await readHistory();
      $("trouble").hidden = true;
      rest = REST;
    } catch (error) {
      trouble(error);
      again = true;
      rest = Math.min(2 * rest, LONGEST_REST);
    }
    await new Promise((done) => setTimeout(done, rest));
  }
  reading = false;
}

function trouble(error) {
  if (error.status === undefined) return; // the daemon is away; the link says so
  say($("trouble"), error.message);
  $("trouble").hidden = false;
}

const WORDS = {
  version: (one) => (one.version === null ? `Attempt ${one.attempt} was refused: no version.` : `Version ${one.version} is served (${one.kind}).`),
  rollback: (one) => `Version ${one.version} went back to version ${one.target}.`,
  probe: (one) => (one.dropped.length ? `Version ${one.version} forgot: ${one.dropped.join(", ")}.` : `Version ${one.version} was measured: all is kept.`),
  learning: (one) => ({ paused: "Learning is paused.", active: "It learns.", idle: "It has nothing left to learn." })[one.state] ?? "",
};

function heard(kind, data) {
  const text = WORDS[kind]?.(data);
  if (text) {
    const place = $("news");
    place.querySelector(".empty")?.remove();
    place.prepend(h("li", {}, h("time", {}, clock(new Date())), " ", text));
    while (place.children.length > NEWS) place.lastChild.remove();
  }
  if (kind === "learning") showState(data.state, data.reason);
  if (kind === "feedback") queue.showCounts(data, trusted);
  refresh();
}

async function linked(stands) {
  const link = $("link");
  link.dataset.stands = String(stands);
  say(link, stands ? "live" : "reconnecting");
  if (!stands) return;
  await trust(); // at the first try the daemon may have been away
  refresh(); // what happened before the stream stood is in what is read now
}

/** Asks whether the token opens what only its holders may change. */
async function trust() {
  if (trusted || !token()) return;
  try {
    await get("/v1/feedback?limit=1"); // the least that only its holders may read
    trusted = true;
    controls.allow(trusted);
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) return;
    forget();
    say($("locked"), STALE);
  }
}

async function begin() {
  takeToken();
  // The address of `edge-es dashboard` in a tab that has the page already: a browser only moves within the page.
  addEventListener("hashchange", () => takeToken() && location.reload());
  queue.setUp();
  controls.setUp();
  chat.setUp();
  for (const button of document.querySelectorAll("[data-range]")) {
    button.addEventListener("click", () => {
      range = Number(button.dataset.range);
      for (const other of document.querySelectorAll("[data-range]")) other.setAttribute("aria-pressed", String(other === button));
      refresh();
    });
  }
  await trust();
  controls.allow(trusted);
  follow(heard, linked).catch(trouble);
  await new Promise((done) => setTimeout(done, PATIENCE));
  if (!$("link").dataset.stands) await refresh(); // the stream is late: the page need not be
}

begin();
