"""What one would do with gradients: LoRA with AdamW through peft, on the same layers and the same items.

Like a training script, by default without gradient checkpointing; unlike many, it makes logits only where an answer
is, which saves it memory. On a GPU the base is quantized as configured; on a CPU it is not quantized, in fp32.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from edge_es.bench.plain import answer_scores
from edge_es.likelihood import Batch
from edge_es.model import Base

RANK = 8
RATE = 1e-4
INSTALL = "peft is not installed; pip install 'edge-es[bench]', or '.[bench]' in the project's folder"


def installed() -> bool:
    """Whether peft is there, which the backprop row needs."""
    return find_spec("peft") is not None


@dataclass(frozen=True)
class Training:
    """Adapters on a model that is trained by backprop, and their optimizer."""

    model: Any
    optimizer: torch.optim.Optimizer


@contextmanager
def training(base: Base, layers: tuple[str, ...], checkpointing: bool = False) -> Iterator[Training]:
    """Adapters on `layers` of the base's model and their optimizer; the model is as before afterwards."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules=list(layers))
    with _quiet():
        wrapped = get_peft_model(base.model, lora)
    wrapped.train()
    if checkpointing:
        _checkpointing(base.model, True)
    moved = [p for p in wrapped.parameters() if p.requires_grad]
    try:
        yield Training(wrapped, torch.optim.AdamW(moved, lr=RATE))
    finally:
        if checkpointing:
            _checkpointing(base.model, False)
        wrapped.unload()
        if hasattr(base.model, "peft_config"):
            del base.model.peft_config
        base.model.eval().requires_grad_(False)


def step(at: Training, batch: Batch) -> float:
    """Forward, backward, optimizer. Returns the loss: nats an answer token."""
    logits = at.model(input_ids=batch.ids, logits_to_keep=batch.columns, use_cache=False).logits.float()
    loss = -answer_scores(logits, batch).sum() / batch.answer.sum()
    at.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    at.optimizer.step()
    return float(loss.detach())


def _checkpointing(model: Any, on: bool) -> None:
    with _quiet():
        if on:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            model.gradient_checkpointing_disable()


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers renames checkpointing; the old name works in all
        yield
