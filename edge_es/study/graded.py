"""`countdown` as a task, for models that can: answers are generated and graded, none is shown."""

import random

from edge_es.config import ProtectSection
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text
from edge_es.memory import OPEN
from edge_es.model import Base
from edge_es.probes.suites import Item
from edge_es.protected import protected_texts
from edge_es.slices import run
from edge_es.study import embedded
from edge_es.study.countdown import puzzles
from edge_es.study.material import Material, some
from edge_es.study.stories import beginnings, read, suites_of
from edge_es.study.subject import Subject
from edge_es.study.suites import Suite, probed

TESTED = 200
ANSWER_TOKENS = 128  # room for some arithmetic before the answer
SEED = 0  # all seeds of a study see the same puzzles, as they do of the other tasks


def countdown(base: Base, seed: int, items: int | None, events: int, subject: Subject) -> Material:
    """What must be kept: of the embedded model its suites; of another its stories, if it has some. Raises InputError
    for stories that cannot be read."""
    rows = puzzles(TESTED + events, SEED)
    tested = [Item(Prompt.user(row["prompt"]), grader=row["grader"], max_tokens=ANSWER_TOKENS) for row in rows[:TESTED]]
    task = probed(base, "countdown", "generation", tested)
    rng = random.Random(seed)
    priors: dict[str, Suite] = {}
    near: tuple[Text, ...] = ()
    if subject.embedded:
        priors, near = embedded.priors(base, items, {}), embedded.prior_texts(base, rng)
    elif subject.stories:
        priors = suites_of(base, read(subject.stories), items)
        near = beginnings(priors["telling"], rng)
    solved = [Exchange(Prompt.user(row["prompt"]), f"<answer>{row['solution']}</answer>") for row in rows[:TESTED]]
    protected = embedded.protected(base) if subject.embedded else run(protected_texts(base, ProtectSection(), OPEN))
    return Material(
        name="countdown",
        events=tuple(
            Event(str(number), "task", (Exchange(Prompt.user(row["prompt"]), ""),), grader=row["grader"])
            for number, row in enumerate(rows[TESTED:])
        ),
        task=task,
        priors=priors,
        protected=tuple(protected),
        near_task=some([text_of(base, one) for one in solved], rng),
        near_prior=near,
        answer_tokens=ANSWER_TOKENS,
    )
