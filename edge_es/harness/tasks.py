"""A task of lm-evaluation-harness as the lines of a suite file: the items are fixed when it is added.

What the harness would ask the model is taken from the task itself (its requests), not from its template, so that
few-shot examples, delimiters and descriptions are in the items as they would be in the harness.

| the task's output | a suite of |
| --- | --- |
| multiple_choice | choice; acc_norm decides as there, acc stands beside it |
| loglikelihood | generation: 1 where greedy decoding gives the target (the harness's acc) |
| loglikelihood_rolling | perplexity, nats a token |

Tasks that generate are judged by filters and metrics of the harness's own; their items can be written with a grader.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from edge_es.errors import InputError
from edge_es.harness import PREFIX

LIMIT = 400  # items: enough to see a drop of 11 of them (`probes.verdicts`)


def suite_name(task: str) -> str:
    """What the suite of a task is called: letters that a file's name may have."""
    return "lm-eval-" + "".join(c if c.isalnum() or c in "_.-" else "-" for c in task)


def load_task(name: str, folder: Path | None = None) -> Any:
    """The harness's task. folder: of further task files (YAML). Raises InputError for what is no single task."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False) if folder else TaskManager()
    if folder and name not in manager.all_subtasks:  # to look through the harness's own takes a while
        manager = TaskManager(include_path=str(folder))
    if name not in manager.all_subtasks:
        what = "a group of tasks; add them one by one" if name in manager.all_tasks else "no task of this harness"
        raise InputError(f"{PREFIX}{name}: '{name}' is {what}; `lm_eval ls tasks` lists them", "task")
    try:
        found = manager.load([name])["tasks"]
    except (OSError, ValueError) as error:  # its data cannot be had, or its file is wrong
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{PREFIX}{name}: the task cannot be loaded: {reason[:300]}", "task") from None
    return next(iter(found.values()))


def items(task: Any, name: str, limit: int | None = LIMIT, shots: int | None = None) -> list[dict[str, Any]]:
    """The lines of the suite, at most `limit`, evenly from the whole. Raises InputError for a task that has no such
    form, naming why."""
    output = task.OUTPUT_TYPE
    if output not in ("multiple_choice", "loglikelihood", "loglikelihood_rolling"):
        raise InputError(
            f"{PREFIX}{name}: a task of output {output} is judged by the harness's own filters; "
            'write its items as {"prompt", "grader"} lines',
            "task",
        )
    if shots is not None:
        task.set_config("num_fewshot", shots)
    total = len(task.eval_docs)
    taken = range(total) if limit is None or total <= limit else [i * total // limit for i in range(limit)]
    task.build_all_requests(samples=list(taken))
    lines = []
    for _, group in groupby(task.instances, key=lambda one: one.doc_id):
        requests = sorted(group, key=lambda one: one.idx)
        lines.append(_line(task, name, requests))
    return list(_distinct(lines))


def _line(task: Any, name: str, requests: Sequence[Any]) -> dict[str, Any]:
    doc = requests[0].doc
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return {"text": requests[0].args[0]}
    context = str(requests[0].args[0])
    if not context.strip():
        raise InputError(f"{PREFIX}{name}: an item has no context, which a suite's items need", "task")
    stem = context.rstrip()
    space = context[len(stem) :]  # the harness moves it to what follows
    if task.OUTPUT_TYPE == "loglikelihood":
        return {"prompt": stem, "raw": True, "answer": space + requests[0].args[1], "ended": False}
    choices = [str(choice) for choice in task.doc_to_choice(doc)]
    own = requests[: len(choices)]  # those after them measure choices without their context
    if any(request.args[0] != context for request in own):
        raise InputError(f"{PREFIX}{name}: its choices are of the context, not of what follows it", "task")
    gaps = {str(request.args[1])[: -len(choice)] for request, choice in zip(own, choices, strict=True)}
    if len(gaps) != 1:
        raise InputError(f"{PREFIX}{name}: its choices do not follow the context alike", "task")
    label = task.doc_to_target(doc)
    label = choices.index(label) if isinstance(label, str) else label
    if not isinstance(label, int) or not 0 <= label < len(choices):
        raise InputError(f"{PREFIX}{name}: an item has no single right choice", "task")
    gap = space + gaps.pop()
    return {
        "prompt": stem,
        "raw": True,
        "choices": choices,
        "label": label,
        **({} if gap == " " else {"delimiter": gap}),
    }


def _distinct(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Without repeats, which are no evidence, and without items whose choices do not differ."""
    seen = set()
    for line in lines:
        if repr(line) not in seen and len(set(line.get("choices", ()))) == len(line.get("choices", ())):
            seen.add(repr(line))
            yield line
