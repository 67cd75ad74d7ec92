// The daemon's API. The admin token comes in the address's fragment, which no server ever sees, and stays in this tab.

const KEY = "edge-es-token";

/** Takes the token out of the address, so that it is in no bookmark and over nobody's shoulder. Was there one? */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return Boolean(given);
}

export const token = () => sessionStorage.getItem(KEY);
export const forget = () => sessionStorage.removeItem(KEY);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function headers(more = {}) {
  return token() ? { ...more, Authorization: `Bearer ${token()}` } : more;
}

/** A response that is good. Raises Refused with the daemon's own words, and Error where none answers. */
export async function open(path, { method = "GET", body, signal, more } = {}) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const type = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(path, { method, headers: headers({ ...type, ...more }), signal, ...sent });
  } catch {
    throw new Error("The daemon does not answer. Is it running?");
  }
  if (!answer.ok) {
    let message = `${answer.status} ${answer.statusText}`;
    try {
      message = (await answer.json()).error.message;
    } catch {
      // a proxy's page, or nothing: the status has to do
    }
    throw new Refused(answer.status, message);
  }
  return answer;
}

export const get = async (path) => (await open(path)).json();
export const post = async (path, body = {}) => (await open(path, { method: "POST", body })).json();

/** The events of a stream of server-sent events: {id, event, data}, as they come. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const whole = text.split("\n\n");
    text = whole.pop();
    for (const one of whole) {
      const found = { id: null, event: "message", data: "" };
      for (const line of one.split("\n")) {
        const at = line.indexOf(":");
        if (at > 0) found[line.slice(0, at)] = line.slice(at + 1).trimStart();
      }
      yield found; // a ping too, without data: it says that the daemon is there
    }
  }
}
