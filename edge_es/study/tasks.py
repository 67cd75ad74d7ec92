"""A task by name, for the model that is taught."""

import random
from dataclasses import replace

from edge_es.errors import InputError
from edge_es.model import Base
from edge_es.study import plan
from edge_es.study.embedded import embedded
from edge_es.study.graded import countdown
from edge_es.study.material import Material, some
from edge_es.study.stories import stories
from edge_es.study.subject import Subject
from edge_es.study.suites import from_file


def material(
    base: Base,
    task: str,
    seed: int,
    items: int | None = None,
    events: int = plan.EVENTS,
    subject: Subject = Subject(),
) -> Material:
    """`items`: most that are read of a prior suite; None: all. `events`: to learn from, at most. Raises InputError for
    no such task, and for one that this subject cannot be taught."""
    plan.can_learn(task, subject)
    if task in plan.TASKS:
        it = embedded(base, task, seed, items, events)
    elif subject.stories is not None and task == "stories":
        it = stories(base, subject.stories, seed, items, events)
    else:
        it = countdown(base, seed, items, events, subject)
    for path in subject.priors:
        if path.stem in it.priors:
            raise InputError(f"two prior suites are named {path.stem}; rename one file", "prior")
        it.priors[path.stem] = from_file(base, path, items)
    if it.near_prior:
        return it
    answered = [text for suite in it.priors.values() for text in suite.texts if text.answer]
    return replace(it, near_prior=some(answered or it.protected, random.Random(seed)))
