"""Which cells a study has, and with how many evaluations. Imports no torch, so that the command line can list them."""

from edge_es.errors import InputError
from edge_es.study.subject import Subject

QUICK = (("defaults", "alias"), ("es-full", "alias"), ("defaults", "style"), ("defaults", "weak_skill"))
EVENTS = 512  # of a task: those that ship with the model; further ones are drawn as those were
MORE_EVENTS = {"weak_skill": 4096}  # 512 of it are learned by heart, by gradients too (docs/measurements.md)
EVALUATIONS = 60_000
QUICK_EVALUATIONS = 15_000
SEEDS = range(100, 105)  # fresh: settings were chosen on 0 to 4
ABLATION_SEEDS = range(100, 102)
GRID_SEEDS = (0, 1)  # on which settings are chosen
KEPT = 0.98  # lowest retention that a setting may have, to be chosen for what it learns
MAIN = ("defaults", "es-full", "sft", "grpo")
TASKS = ("alias", "style", "weak_skill")  # of the embedded model
KNOWN = (*TASKS, "stories", "countdown")
TASKS_OF = {  # others learn all
    "sft": ("alias", "style"),
    "grpo": ("weak_skill", "countdown"),
    "defaults-live": ("weak_skill", "countdown"),
}


def task(name: str) -> str:
    """The name, if there is such a task. Raises InputError."""
    if name not in KNOWN:
        raise InputError(f"task '{name}' is unknown; known are {', '.join(KNOWN)}")
    return name


def events_of(name: str) -> int:
    """How many items of a task there are to learn from, where no number is asked for."""
    return MORE_EVENTS.get(name, EVENTS)


def can_learn(name: str, subject: Subject) -> None:
    """Raises InputError for no such task, and for one that this subject cannot be taught."""
    task(name)
    if name in TASKS and not subject.embedded:
        raise InputError(f"task '{name}' is the embedded model's own; {subject.model} has no such suites to keep")
    if name == "stories" and (subject.embedded or subject.stories is None):
        raise InputError("task 'stories' is for a model that tells stories: name it with --model, them with --stories")
    if name == "countdown" and not (subject.embedded or subject.stories or subject.priors):
        raise InputError("task 'countdown' needs to know what must be kept; give --prior FILE or --stories FILE")


def tasks_of(arm: str, subject: Subject = Subject()) -> tuple[str, ...]:
    """What an arm can learn, where no task is named: the embedded model's own, or of another model what its files
    are for."""
    offered = TASKS if subject.embedded else ("stories",) if subject.stories else ("countdown",)
    return tuple(one for one in offered if one in TASKS_OF.get(arm, KNOWN))


def whole(arms: tuple[str, ...], subject: Subject = Subject()) -> list[tuple[str, str, int]]:
    """(arm, task, seed) of the full matrix: the main arms on five seeds, ablations on two, those on the first task
    alone."""
    main = [(arm, learned, seed) for arm in MAIN for learned in tasks_of(arm, subject) for seed in SEEDS]
    rest = [arm for arm in arms if arm not in MAIN]
    return main + [
        (arm, first, seed) for arm in rest for first in tasks_of(arm, subject)[:1] for seed in ABLATION_SEEDS
    ]


def quick(subject: Subject = Subject()) -> list[tuple[str, str, int]]:
    """The matrix of `--quick`: one seed."""
    if not subject.embedded:
        return [(arm, learned, SEEDS[0]) for arm in ("defaults", "es-full") for learned in tasks_of(arm, subject)]
    return [(arm, learned, SEEDS[0]) for arm, learned in QUICK]
