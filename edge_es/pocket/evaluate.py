"""Scores a model folder on every probe and every task, as it is and as NF4: python -m edge_es.pocket.evaluate.

Prints a Markdown table, or with --json one JSON object. The card's figures come from here.
"""

import argparse
import json
from pathlib import Path

import torch

from edge_es.pocket import MODEL_DIR, PROBES_DIR, TASKS_DIR
from edge_es.pocket.scoring import forced, load, read, score

FIRST_TURN = (("Reverse hello.", "olleh"),)


def suites() -> dict[str, Path]:
    """Name -> file, the probes first, then the tasks' held-out items."""
    probes = {p.stem: p for p in sorted(PROBES_DIR.glob("*.jsonl"))}
    return {**probes, **{f"task {p.stem}": p for p in sorted(TASKS_DIR.glob("*-test.jsonl"))}}


def figures(folder: Path, forms: dict[str, tuple[bool, torch.dtype]]) -> dict[str, dict[str, float]]:
    """Suite -> {form: share right}, and in the last form, where answers are exact: "second", the share right behind a
    first turn, and "nats", the mean negative log-likelihood of an answer.
    """
    table: dict[str, dict[str, float]] = {}
    for form, (nf4, dtype) in forms.items():
        model = load(folder, nf4, dtype)
        for name, path in suites().items():
            rows = read(path)
            cell = table.setdefault(name, {"items": len(rows)})
            cell[form] = score(model, rows).double().mean().item()
            if "answer" in rows[0]:
                pairs = [(r["prompt"], r["answer"]) for r in rows]
                cell["nats"] = -forced(model, pairs)[1].double().mean().item()
                cell["second"] = forced(model, pairs, FIRST_TURN)[0].double().mean().item()
    return table


def main() -> None:
    """`python -m edge_es.pocket.evaluate`: the table, or JSON."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", type=Path, default=MODEL_DIR)
    p.add_argument("--json", action="store_true")
    p.add_argument("--bf16", action="store_true", help="also NF4 with products in bfloat16, as on a GPU")
    a = p.parse_args()
    forms = {"fp32": (False, torch.float32), "nf4": (True, torch.float32)}
    if a.bf16:
        forms = {"nf4 bf16": (True, torch.bfloat16), **forms}
    table = figures(a.model, forms)
    if a.json:
        print(json.dumps(table))
        return
    heads = ["suite", "items", *forms, "nf4, second turn", "nats an answer"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for name, cell in table.items():
        more = f"{cell['second']:.4f} | {cell['nats']:.4f}" if "nats" in cell else " | "
        print(f"| {name} | {cell['items']} | {' | '.join(f'{cell[f]:.4f}' for f in forms)} | {more} |")


if __name__ == "__main__":
    main()
