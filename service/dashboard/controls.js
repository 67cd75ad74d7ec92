// What changes the model as a whole: pause, go back, measure, export.

import { post } from "./api.js";
import { $, say } from "./dom.js";

export function setUp() {
  $("pause").addEventListener("click", () => tried($("pause"), async () => {
    await post(`/v1/learning/${$("pause").dataset.next}`);
  }));
  $("rollback").addEventListener("submit", (event) => {
    event.preventDefault();
    const target = Number($("target").value);
    const name = target === 0 ? "0, the model as first loaded" : String(target);
    say($("confirm-text"), `The model will answer as version ${name}. What was learned since is not erased: you can come back to it.`);
    $("why").value = "";
    $("confirm").showModal();
  });
  $("confirm-yes").addEventListener("click", () => tried($("confirm-yes"), async () => {
    const reason = $("why").value.trim();
    const body = { version: Number($("target").value), ...(reason ? { reason } : {}) };
    $("confirm").close();
    const made = await post("/v1/rollback", body);
    say($("done"), `Version ${made.version} is served; it answers as version ${made.target}.`);
  }));
  $("probe").addEventListener("click", () => tried($("probe"), async () => {
    say($("done"), "Measuring every ability…");
    await post("/v1/probes/run");
    say($("done"), "Measured.");
  }));
  $("export").addEventListener("click", () => {
    say($("export-said"), "");
    $("exporting").showModal();
  });
  $("export-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const button = event.submitter;
    tried(button, async () => {
      say($("export-said"), "Exporting…");
      const name = $("export-name").value.trim();
      const made = await post("/v1/export", { kind: $("format").value, ...(name && { name }) });
      say($("export-said"), `Version ${made.version} is in ${made.path}.`);
    }, $("export-said"));
  });
}

async function tried(button, work, place = $("done")) {
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    say(place, error.message);
  }
  button.disabled = false;
}

/** Who holds the token sees what it opens. */
export function allow(trusted) {
  $("control").hidden = !trusted;
  $("pause").hidden = !trusted;
  $("locked").hidden = trusted;
}
