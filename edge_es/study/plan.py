"""Which cells a study has, and with how many evaluations. Imports no torch, so that the command line can list them."""

from edge_es.errors import InputError

QUICK = (("defaults", "alias"), ("es-full", "alias"), ("defaults", "style"), ("defaults", "weak_skill"))
EVENTS = 512  # of a task: those that ship with the model; further ones are drawn as those were
EVALUATIONS = 60_000
QUICK_EVALUATIONS = 15_000
SEEDS = range(100, 105)  # fresh: settings were chosen on 0 to 4
ABLATION_SEEDS = range(100, 102)
MAIN = ("defaults", "es-full", "sft", "grpo")
TASKS_OF = {"sft": ("alias", "style"), "grpo": ("weak_skill",), "defaults-live": ("weak_skill",)}  # others learn all
TASKS = ("alias", "style", "weak_skill")


def task(name: str) -> str:
    """The name, if there is such a task. Raises InputError."""
    if name not in TASKS:
        raise InputError(f"task '{name}' is unknown; known are {', '.join(TASKS)}")
    return name


def tasks_of(arm: str) -> tuple[str, ...]:
    """What an arm can learn."""
    return TASKS_OF.get(arm, TASKS)


def whole(arms: tuple[str, ...]) -> list[tuple[str, str, int]]:
    """(arm, task, seed) of the full matrix: the main arms on five seeds, others on two and one task."""
    main = [(arm, learned, seed) for arm in MAIN for learned in tasks_of(arm) for seed in SEEDS]
    return main + [(arm, tasks_of(arm)[0], seed) for arm in arms if arm not in MAIN for seed in ABLATION_SEEDS]


def quick() -> list[tuple[str, str, int]]:
    """The matrix of `--quick`: one seed."""
    return [(arm, learned, SEEDS[0]) for arm, learned in QUICK]
