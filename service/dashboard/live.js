// What happens in the daemon, as it happens; comes back by itself, and catches up on what it missed.

import { events, open } from "./api.js";

const WAITS = [500, 1000, 2000, 5000];
const SILENCE = 40000; // ms; the daemon pings every 15 s

/** Calls heard(kind, data) for every event, and linked(true | false) when the stream stands or breaks. */
export async function follow(heard, linked) {
  let last = null;
  let failed = 0;
  for (;;) {
    const stop = new AbortController();
    let timer = 0;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENCE);
    };
    try {
      alive();
      const more = last ? { "Last-Event-ID": last } : {};
      const answer = await open("/v1/events", { signal: stop.signal, more });
      linked(true);
      if (failed && !last) heard("missed", {});
      failed = 0;
      for await (const one of events(answer)) {
        alive();
        if (one.id) last = one.id;
        if (one.data) heard(one.event, JSON.parse(one.data));
      }
    } catch (error) {
      if (error.status && error.status !== 429 && error.status < 500) throw error;
    }
    clearTimeout(timer);
    linked(false);
    await new Promise((done) => setTimeout(done, WAITS[Math.min(failed, WAITS.length - 1)]));
    failed += 1;
  }
}
