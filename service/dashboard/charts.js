// The three pictures of the model's history, and the list of suites that chooses what the first one shows.

import { Chart, joined } from "./chart.js";
import { $, fixed, h, others, say, svg, when } from "./dom.js";

const BUTTONS = 40; // marks that can be reached by the keyboard; older ones stand in the list below
const LINES = 12; // marks that have a line down to the axis
const WORDS = { kept: "kept", suspect: "perhaps less", dropped: "forgotten" };
const LOW = 0.9; // the lowest retention that the axis shows at least

let lines = []; // of retention, a suite each
let marks = [];
let chosen = null;
let tell = () => {};

const retention = new Chart($("retention-chart"), (css) => ({
  series: [
    ...lines.map((line) => ({
      stroke: line.suite === chosen ? css("--accent") : css("--faint"),
      width: line.suite === chosen ? 2.25 : 1,
      points: { show: line.version.length < 2 },
      spanGaps: true,
    })),
    { stroke: "transparent", spanGaps: true, points: { show: false } },
    { stroke: "transparent", spanGaps: true, points: { show: false } },
  ],
  bands: [{ series: [lines.length + 2, lines.length + 1], fill: css("--band") }],
  scales: { y: { range: (u, low, high) => padded(Math.min(low ?? 1, LOW), Math.max(high ?? 1, 1.02)) } },
  axes: [{ values: (u, at) => at.map((v) => v.toFixed(2)), incrs: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5] }],
  draw: (u) => {
    const { ctx, bbox } = u;
    const line = (x0, y0, x1, y1, stroke, dash) => {
      ctx.save();
      ctx.strokeStyle = stroke;
      ctx.setLineDash(dash.map((one) => one * devicePixelRatio));
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(x0, y0);
      ctx.lineTo(x1, y1);
      ctx.stroke();
      ctx.restore();
    };
    const one = Math.round(u.valToPos(1, "y", true)) + 0.5;
    line(bbox.left, one, bbox.left + bbox.width, one, css("--ink"), [5, 4]);
    ctx.save();
    ctx.fillStyle = css("--muted");
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    ctx.strokeStyle = css("--surface");
    ctx.lineWidth = 4 * devicePixelRatio;
    ctx.lineJoin = "round";
    ctx.strokeText("anchor", bbox.left + bbox.width - 4 * devicePixelRatio, one - 5 * devicePixelRatio);
    ctx.fillText("anchor", bbox.left + bbox.width - 4 * devicePixelRatio, one - 5 * devicePixelRatio);
    ctx.restore();
    if (marks.length > LINES) return; // a fence would hide what it is there to explain: the marks above have to do
    for (const mark of marks) {
      const x = Math.round(u.valToPos(mark.version, "x", true)) + 0.5;
      if (x >= bbox.left) line(x, bbox.top, x, bbox.top + bbox.height, css("--mark"), [2, 3]);
    }
  },
  after: place,
  cursor: (u) => {
    const i = u.cursor.idx;
    say($("retention-caption"), i === null || i === undefined ? caption() : at(u, i));
  },
}));

const padded = (low, high) => [low - (high - low) * 0.06, high + (high - low) * 0.06];

function caption() {
  const line = lines.find((one) => one.suite === chosen);
  if (!line) return "Nothing was measured yet.";
  const last = line.version.length - 1;
  const shown = marks.length ? ` It went back ${marks.length === 1 ? "once" : `${marks.length} times`} (the marks above).` : "";
  return `${chosen}: ${fixed(line.retention[last])} at version ${line.version[last]}; the band is its 95% interval.${shown}`;
}

function at(u, i) {
  const line = lines.find((one) => one.suite === chosen);
  if (!line) return caption();
  let k = line.version.findIndex((version) => version >= u.data[0][i]);
  if (k < 0) k = line.version.length - 1;
  return `version ${line.version[k]}: ${chosen} ${fixed(line.retention[k])} (${fixed(line.ci_low[k])} to ${fixed(line.ci_high[k])})`;
}

/** Puts the newest marks over the chart, as buttons. */
function place(u) {
  let layer = u.over.querySelector(".marks");
  if (!layer) u.over.append((layer = h("div", { class: "marks" })));
  const wanted = marks.slice(-BUTTONS);
  const key = wanted.map((mark) => mark.version).join();
  if (layer.dataset.key !== key) {
    layer.dataset.key = key;
    layer.replaceChildren(
      ...wanted.map((mark) =>
        h("button", { type: "button", class: "mark", "aria-label": told(mark), title: told(mark), onclick: () => tell(mark.version) }),
      ),
    );
  }
  wanted.forEach((mark, i) => {
    const x = u.valToPos(mark.version, "x");
    layer.children[i].style.left = `${x}px`;
    layer.children[i].hidden = !(x >= 0 && x <= u.over.clientWidth);
  });
}

const told = (mark) => `Version ${mark.version}: went back to version ${mark.target}`;

function drawRetention() {
  const line = lines.find((one) => one.suite === chosen) ?? { version: [], ci_low: [], ci_high: [] };
  const data = joined([
    ...lines.map((one) => ({ x: one.version, y: [one.retention] })),
    { x: line.version, y: [line.ci_low, line.ci_high] },
  ]);
  const shape = `${chosen} ${lines.map((one) => one.suite).join()} ${marks.map((mark) => mark.version).join()}`;
  if (data[0].length) retention.show(data, shape);
  $("retention-chart").classList.toggle("blank", !data[0].length);
  say($("retention-caption"), caption());
}

/** The list of suites: each with its newest retention, and its interval against the anchor. */
export function showSuites(suites) {
  const measured = suites.filter((one) => one.retention !== null);
  if (chosen === null || !suites.some((one) => one.suite === chosen)) {
    const prior = measured.filter((one) => !one.learned);
    const [lowest] = (prior.length ? prior : measured).toSorted((a, b) => a.retention - b.retention);
    chosen = lowest?.suite ?? null;
    drawRetention();
  }
  const low = Math.min(0.9, ...measured.map((one) => one.ci_low ?? one.retention));
  const high = Math.max(1.05, ...measured.map((one) => one.ci_high ?? one.retention));
  const focused = document.activeElement?.dataset?.suite;
  const group = (title, some) =>
    some.length ? [h("h3", {}, title), h("ul", {}, some.map((one) => h("li", {}, suiteButton(one, low, high))))] : [];
  $("suites").replaceChildren(
    ...group("What it could do before", suites.filter((one) => !one.learned)),
    ...group("What it was taught", suites.filter((one) => one.learned)),
  );
  if (focused) [...$("suites").querySelectorAll("button")].find((one) => one.dataset.suite === focused)?.focus();
}

function suiteButton(one, low, high) {
  const text = one.retention === null ? `${one.suite}: no ratio` : `${one.suite}, retention ${fixed(one.retention)}, ${WORDS[one.verdict]}`;
  return h(
    "button",
    {
      type: "button",
      class: "suite",
      "data-suite": one.suite,
      "data-verdict": one.verdict,
      "aria-pressed": String(one.suite === chosen),
      "aria-label": text,
      title: `${WORDS[one.verdict]}; score ${fixed(one.score)}, reference ${fixed(one.anchor)}, ${one.items} items, version ${one.version}`,
      onclick: () => {
        chosen = one.suite;
        for (const other of $("suites").querySelectorAll("button")) {
          other.setAttribute("aria-pressed", String(other.dataset.suite === chosen));
        }
        drawRetention();
      },
    },
    h("span", { class: "name" }, one.suite.replace(/^learned-/, "")),
    whisker(one, low, high),
    h("span", { class: "value" }, fixed(one.retention)),
  );
}

function whisker(one, low, high) {
  const x = (value) => (4 + (92 * (value - low)) / (high - low)).toFixed(2);
  const parts = [svg("line", { x1: x(1), x2: x(1), y1: 1, y2: 15, class: "one" })];
  if (one.ci_low !== null && one.ci_high !== null) {
    parts.push(svg("line", { x1: x(one.ci_low), x2: x(one.ci_high), y1: 8, y2: 8, class: "ci" }));
  }
  if (one.retention !== null) parts.push(svg("circle", { cx: x(one.retention), cy: 8, r: 3.2, class: "dot" }));
  return svg("svg", { viewBox: "0 0 100 16", preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts);
}

const COLOURS = ["--accent", "--second", "--third", "--fourth", "--fifth"];
let kinds = [];
const fitness = new Chart($("fitness-chart"), (css) => ({
  series: kinds.map((kind, i) => ({ stroke: css(COLOURS[i % COLOURS.length]), width: 1.75, spanGaps: true, points: { show: false } })),
}));
const norm = new Chart($("norm-chart"), (css) => ({
  series: [
    { stroke: css("--accent"), width: 2, points: { show: false } },
    { stroke: css("--second"), width: 1.5, dash: [5, 3], scale: "ratio", points: { show: false } },
  ],
  scales: { y: { range: (u, low, high) => [0, (high || 1) * 1.08] }, ratio: { range: (u, low, high) => [0, Math.max(1.1, (high || 1) * 1.08)] } },
  axes: [{}, { scale: "ratio", side: 1, grid: { show: false } }],
}));

function legend(place, parts) {
  place.replaceChildren(...parts.map(([colour, text]) => h("span", { class: "key", "data-colour": colour }, text)));
}

/** All that comes of `GET /v1/history`. story(version): opens the story of a rollback. */
export async function showHistory(found, story) {
  tell = story;
  lines = found.retention;
  marks = found.rollbacks;
  drawRetention();
  showRollbacks(found.rollbacks);
  await others(); // a picture at a time: what people do comes first
  kinds = Object.keys(found.fitness.kinds);
  if (found.fitness.version.length) {
    fitness.show([found.fitness.version, ...kinds.map((kind) => found.fitness.kinds[kind])], kinds.join());
  }
  const last = (values) => values.findLast((value) => value !== null);
  legend(
    $("fitness-caption"),
    kinds.length ? kinds.map((kind, i) => [i % COLOURS.length, `${kind} ${fixed(last(found.fitness.kinds[kind]))}`]) : [["", "No step was taken yet."]],
  );
  await others();
  const { version, delta_norm: delta, walk_ratio: walk } = found.norms;
  if (version.length) norm.show([version, delta, walk], "norm");
  legend($("norm-caption"), version.length ? [[0, `norm ${fixed(delta.at(-1), 2)}`], [1, `walk ratio ${fixed(walk.at(-1), 2)}`]] : [["", "It stands where it began."]]);
}

function showRollbacks(all) {
  $("back").hidden = !all.length;
  $("rollbacks").replaceChildren(
    ...all.slice(-6).reverse().map((mark) =>
      h("li", {}, h("button", { type: "button", class: "quiet", onclick: () => tell(mark.version) },
        `${mark.version} → ${mark.target}`, h("small", {}, `${mark.automatic ? "by itself" : "by hand"}, ${when(mark.at)}`))),
    ),
  );
}
