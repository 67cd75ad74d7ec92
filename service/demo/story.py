"""The story in order: measure, teach, restart without guards, attack, detect, roll back, recover, verify."""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_es.errors import EdgeError
from service.cli.address import Daemon
from service.cli.client import connect, get, post, request
from service.cli.feedback import GROUP, await_idle
from service.demo.bars import Measured, detection
from service.demo.material import UNGUARDED, Item, demonstration, preference, rating, task, wrong_answers
from service.demo.measure import Answer, Round, accuracy, ask, rounds
from service.demo.process import running
from service.demo.view import Screen


@dataclass(frozen=True)
class Plan:
    """How much of everything. Times in seconds."""

    demonstrations: int = 384
    preferences: int = 16
    ratings: int = 16
    rate_from: float = 0.3  # accuracy at which answers are rated: some are right, some are wrong
    tested: int = 400  # held-out items, all there are
    looked_at: int = 96  # items of an evaluation on the way: of the training part, never sent, and not the tested ones
    look_every: float = 15.0
    goal: float = 0.97  # learning is stopped by hand at this accuracy of an evaluation on the way
    learn_limit: float = 270.0
    flood: int = 96
    attack_limit: float = 420.0
    settle_limit: float = 240.0
    seed: int = 7


def send(daemon: Daemon, bodies: Sequence[dict[str, Any]]) -> None:
    """Feedback, at most GROUP bodies a request. Raises EdgeError where one is refused."""
    with connect(daemon) as client:
        for start in range(0, len(bodies), GROUP):
            content = "".join(json.dumps(body) + "\n" for body in bodies[start : start + GROUP]).encode()
            headers = {"Content-Type": "application/x-ndjson"}
            answer = request(client, "POST", "/v1/feedback/batch", content=content, headers=headers)
            for result in answer["results"]:
                if result.get("error"):
                    raise EdgeError(f"the daemon refused the demo's own feedback: {result['error']['message']}")


def probe(daemon: Daemon) -> Round:
    """Probes the served version now; its round. Raises EdgeError where there is none."""
    post(daemon, "/v1/probes/run")
    version = served(daemon)
    found = [r for r in rounds(get(daemon, "/v1/retention")["retention"]) if r.version == version]
    if not found:
        raise EdgeError("the probes hold no generative suite; the demo needs the pocket model's own")
    return found[-1]


def served(daemon: Daemon) -> int:
    """The version that answers now."""
    return int(get(daemon, "/v1/status")["version"])


def answered(daemon: Daemon, items: Sequence[Item]) -> list[tuple[Item, Answer]]:
    """The items with what is served for them now."""
    longest = max(len(item.answer.encode()) for item in items) + 8
    return list(zip(items, ask(daemon, [item.prompt for item in items], longest), strict=True))


def lessons(daemon: Daemon, items: Sequence[Item], plan: Plan, screen: Screen) -> list[dict[str, Any]]:
    """Demonstrations, and preferences over the answer that was served."""
    taught, compared = items[: plan.demonstrations], items[plan.demonstrations :][: plan.preferences]
    bodies = [demonstration(item.prompt, item.answer) for item in taught]
    pairs = [preference(i.prompt, i.answer, a.text) for i, a in answered(daemon, compared) if a.text != i.answer]
    screen.note(f"sending {len(bodies)} demonstrations and {len(pairs)} preferences")
    return bodies + pairs


def rate(daemon: Daemon, items: Sequence[Item], screen: Screen) -> None:
    """Thumbs for served answers. They say something only where some are right and some are wrong."""
    bodies = [rating(a.id, a.text.strip() == i.answer) for i, a in answered(daemon, items)]
    up = sum(body["value"] for body in bodies)
    screen.note(f"rating {len(bodies)} served answers: {up} thumbs up, {len(bodies) - up} down")
    send(daemon, bodies)


def learn(
    daemon: Daemon, looked_at: Sequence[Item], rated: Sequence[Item], plan: Plan, started: float, screen: Screen
) -> None:
    """Evaluates on the way until the goal, the time limit, or the learner is done; once half-way, rates answers."""
    quiet, next_look = 0, time.monotonic() + plan.look_every / 2
    while True:
        status = get(daemon, "/v1/status")
        quiet = 0 if status["learning"] == "active" else quiet + 1
        spent = time.monotonic() - started
        ended = quiet >= 6 or spent > plan.learn_limit
        if ended or time.monotonic() >= next_look:
            some = accuracy(daemon, looked_at)
            screen.point(
                "task", some, f"version {status['version']}: {some:.3f} of {len(looked_at)} unsent items right"
            )
            if ended or some >= plan.goal:
                return
            if rated and plan.rate_from <= some < plan.goal:
                rate(daemon, rated, screen)
                rated = ()
            next_look = time.monotonic() + plan.look_every
        time.sleep(0.5)


def published_steps(daemon: Daemon) -> int:
    """Steps in the ledger that made a version."""
    rows = get(daemon, "/v1/versions")["versions"]
    return sum(row["kind"] == "step" and row["version"] is not None for row in rows)


def rounds_after(daemon: Daemon, version: int) -> list[Round]:
    """Probe rounds of versions beyond `version`, in the order they were run."""
    return [one for one in rounds(get(daemon, "/v1/retention")["retention"]) if one.version > version]


def rollbacks(daemon: Daemon, after: int) -> list[dict[str, Any]]:
    """The rollback rows with a version beyond `after`."""
    rows = get(daemon, "/v1/versions")["versions"]
    return [r for r in rows if r["kind"] == "rollback" and r["version"] is not None and r["version"] > after]


@dataclass(frozen=True)
class Attack:
    """What the attack did. `rolled_back_to`: the version whose delta was taken back up."""

    found: list[Round]
    rolled_back_to: int | None


def same_delta(daemon: Daemon, version: int) -> int:
    """The oldest version with the delta of `version`: what a rollback took back up."""
    rows = [row for row in get(daemon, "/v1/versions")["versions"] if row["version"] is not None]
    digest = next(row["sha256"] for row in rows if row["version"] == version)
    return int(next(row["version"] for row in rows if row["sha256"] == digest))


def watch_attack(daemon: Daemon, start: int, plan: Plan, screen: Screen) -> Attack:
    """Follows probes until a rollback, then until the learner is done or paused."""
    shown, back, limit, quiet = 0, 0, time.monotonic() + plan.attack_limit, 0
    while time.monotonic() < limit and quiet < 6:
        found = rounds_after(daemon, start)
        for one in found[shown:]:
            verdict = f"dropped: {', '.join(one.dropped)}" if one.dropped else "nothing dropped"
            screen.point(
                "worst prior suite",
                one.worst,
                f"probe of version {one.version}: worst {one.worst:.3f}, {verdict}",
            )
        shown = len(found)
        taken = rollbacks(daemon, start)
        for row in taken[back:]:
            screen.note(f"rolled back: version {row['version']} is version {same_delta(daemon, row['version'])} again")
            if not back:
                limit = time.monotonic() + plan.settle_limit
            back += 1
        learning = get(daemon, "/v1/status")["learning"]
        quiet = quiet + 1 if learning != "active" and (taken or learning == "paused") else 0
        time.sleep(0.5)
    found, taken = rounds_after(daemon, start), rollbacks(daemon, start)
    return Attack(found, same_delta(daemon, taken[-1]["version"]) if taken else None)


def pause(daemon: Daemon) -> None:
    """Learning rests, so that what is measured, probed and verified is one version."""
    post(daemon, "/v1/learning/pause", {"reason": "the demo measures"})


@dataclass(frozen=True)
class Taught:
    """The first half's measurements."""

    before: float
    after: float
    steps: int
    seconds: float
    retention: dict[str, float]
    version: int
    hashes: tuple[str, ...]


def teach(daemon: Daemon, plan: Plan, screen: Screen) -> Taught:
    """The first half: measure, teach, measure."""
    train, test = task("train"), task("test")[: plan.tested]
    random.Random(plan.seed).shuffle(train)
    screen.note("the daemon measures what the model can do")
    with connect(daemon) as client:
        await_idle(client)
    first_hash = get(daemon, "/v1/verify")["base_sha256"]
    before = accuracy(daemon, test)
    screen.point("task", before, f"task before: {before:.3f} of {len(test)} held-out items right")
    bodies = lessons(daemon, train, plan, screen)
    started = time.monotonic()
    send(daemon, bodies)
    unsent = train[plan.demonstrations + plan.preferences :]
    rated, looked_at = unsent[: plan.ratings], unsent[plan.ratings :][: plan.looked_at]
    learn(daemon, looked_at, rated, plan, started, screen)
    pause(daemon)
    # A step may have been published since the last evaluation: what is probed is measured again.
    after = accuracy(daemon, test)
    seconds = time.monotonic() - started
    steps = published_steps(daemon)
    screen.point("task", after, f"task after {steps} steps, {seconds:.0f} s: {after:.3f}")
    one = probe(daemon)
    screen.point("worst prior suite", one.worst, f"prior suites: worst {one.worst:.3f}")
    second_hash = get(daemon, "/v1/verify")["base_sha256"]
    return Taught(before, after, steps, seconds, dict(one.retention), served(daemon), (first_hash, second_hash))


def tell(state_dir: Path, log: Path, arguments: Sequence[str], plan: Plan, screen: Screen) -> Measured:
    """The whole story on an empty state folder. `arguments` go to both starts of `edge-es serve`."""
    screen.note("starting the daemon")
    with running(state_dir, log, arguments) as child:
        taught = teach(child.daemon, plan, screen)
    screen.note("restarting with the guards told to let everything through")
    config = log.with_name("unguarded.toml")
    config.write_text(UNGUARDED, encoding="utf-8")
    with running(state_dir, log, [*arguments, "--config", str(config)]) as child:
        daemon = child.daemon
        resumed = served(daemon)
        screen.note(f"resumed at version {resumed}; sending {plan.flood} wrong answers to prior abilities")
        send(daemon, wrong_answers(plan.flood, plan.seed))
        post(daemon, "/v1/learning/resume")
        attack = watch_attack(daemon, resumed, plan, screen)
        pause(daemon)
        recovered = probe(daemon)
        screen.point("worst prior suite", recovered.worst, f"afterwards: worst suite {recovered.worst:.3f}")
        task_after = accuracy(daemon, task("test")[: plan.tested])
        screen.point("task", task_after, f"task afterwards: {task_after:.3f}")
        proof = get(daemon, "/v1/verify")
    return Measured(
        before=taught.before,
        after=taught.after,
        steps=taught.steps,
        seconds=taught.seconds,
        retention=taught.retention,
        detected_after_probes=detection(attack.found),
        rolled_back_to=attack.rolled_back_to,
        at_worst=min([one.worst for one in attack.found], default=1.0),
        recovered=recovered.retention,
        task_after=task_after,
        base_hashes=(*taught.hashes, proof["base_sha256"]),
        mismatches=int(proof["mismatches"]),
        resumed=resumed == taught.version,
    )
