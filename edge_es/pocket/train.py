"""Trains pocket from nothing: python -m edge_es.pocket.train --out DIR.

Data-parallel over `--workers` processes of one thread each (on a small CPU that is faster than one process with two
threads, whose every operation waits for both). The last part of the run sees the linears rounded to NF4 with a
straight-through gradient, so that quantization costs nothing afterwards. Seeds are fixed; the figures of a run depend
on the CPU's floating point only.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from edge_es.pocket import tokenizer
from edge_es.pocket.abilities import WEAK, Item, draw
from edge_es.pocket.batches import batches_of, stream
from edge_es.pocket.curriculum import PHASES, Phase

WEAK_BAND = (0.30, 0.40)  # a weak skill is trained only while below; its share pauses above


def build_model(layers: int) -> LlamaForCausalLM:
    """A Llama of this many layers with random weights, fp32."""
    config = LlamaConfig(
        vocab_size=tokenizer.VOCAB_SIZE,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.END,
        pad_token_id=tokenizer.PAD,
    )
    return LlamaForCausalLM(config)


def orthogonalize(g: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrix, for a stack (n, out, in)."""
    tall = g.shape[1] > g.shape[2]
    x = g.transpose(1, 2) if tall else g
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.transpose(1, 2) if tall else x


class Muon:
    """Momentum, orthogonalized (Jordan et al. 2024), for equal-shaped matrices at a time. Holds its momentum."""

    def __init__(self, params: Iterable[torch.nn.Parameter], momentum: float = 0.95, decay: float = 0.02) -> None:
        self.groups: dict[torch.Size, list[torch.nn.Parameter]] = {}
        for p in params:
            self.groups.setdefault(p.shape, []).append(p)
        self.state = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.groups.items()}
        self.momentum, self.decay = momentum, decay

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for shape, params in self.groups.items():
            g = torch.stack([p.grad for p in params if p.grad is not None])
            m = self.state[shape].lerp_(g, 1 - self.momentum)
            update = orthogonalize(g.lerp(m, self.momentum)) * max(1.0, shape[0] / shape[1]) ** 0.5
            for p, u in zip(params, update, strict=True):
                p.mul_(1 - lr * self.decay).sub_(u, alpha=lr)


@torch.no_grad()
def nf4(w: torch.Tensor) -> torch.Tensor:
    """The weight (out, in) as bitsandbytes would read it back from NF4 with double quantization."""
    import bitsandbytes.functional as bnb

    packed, state = bnb.quantize_4bit(w.contiguous(), blocksize=64, compress_statistics=True, quant_type="nf4")
    return bnb.dequantize_4bit(packed, state).to(w.dtype)


def loss_of(body: Callable[..., Any], head: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, nats; only their positions meet the vocabulary. head: (vocabulary,
    hidden); x, y: (rows, seq) int64, y -100 where nothing is asked."""
    hidden = body(input_ids=x, use_cache=False).last_hidden_state[:, :-1]
    wanted = y[:, 1:] != -100
    return F.cross_entropy(F.linear(hidden[wanted], head), y[:, 1:][wanted])


@torch.no_grad()
def exact_matches(model: LlamaForCausalLM, items: Sequence[Item]) -> float:
    """Share of items whose every answer token, the end included, is the greedy choice."""
    hits = 0
    for _, x, y in batches_of(items):
        greedy = model(input_ids=x, use_cache=False).logits[:, :-1].argmax(-1)
        hits += int(((greedy == y[:, 1:]) | (y[:, 1:] == -100)).all(1).sum())
    return hits / len(items)


def share_gradients(params: list[torch.nn.Parameter], workers: int) -> None:
    """Averages the gradients over the workers."""
    if workers == 1:
        return
    flat = torch.cat([p.grad.reshape(-1) for p in params if p.grad is not None])
    dist.all_reduce(flat)
    flat /= workers
    for p, g in zip(params, flat.split([p.numel() for p in params]), strict=True):
        p.grad = g.view_as(p)


def steer(weights: list[float], scores: Sequence[float], phase: Phase) -> None:
    """More of what is not known yet; weak skills are held in their band."""
    for i, (ability, score) in enumerate(zip(phase.mix, scores, strict=True)):
        if ability in WEAK:
            low, high = WEAK_BAND
            share = 1.0 if score < low else 0.3 if score < high else 0.0
        elif ability.name == "sentences":
            share = 1.0  # many answers are right: exact match says nothing
        else:
            share = 0.25 + (1 - score) ** 0.5
        weights[i] = ability.weight * share * phase.boost.get(ability.name, 1.0)


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Writes the model folder: weights, configuration, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder))
    tokenizer.save(folder)


def work(rank: int, a: argparse.Namespace) -> None:
    """One worker's whole run, all phases; worker 0 prints and saves."""
    torch.set_num_threads(1)
    if a.workers > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(a.port))
        dist.init_process_group("gloo", rank=rank, world_size=a.workers)
    torch.manual_seed(a.seed)
    model = LlamaForCausalLM.from_pretrained(a.start) if a.start else build_model(a.layers)
    model.train()
    body = torch.compile(model.model, dynamic=True) if a.compile else model.model
    for index in range(a.first_phase, len(PHASES)):
        run_phase(model, body, index, rank, a)
        if a.max_steps:
            break
    if a.workers > 1:
        dist.barrier()
        dist.destroy_process_group()


def run_phase(model: LlamaForCausalLM, body: Callable[..., Any], index: int, rank: int, a: argparse.Namespace) -> None:
    """One phase, with optimizers and a data stream of its own."""
    phase = PHASES[index]
    linears = [p for n, p in model.named_parameters() if n.endswith("_proj.weight")]
    others = [p for n, p in model.named_parameters() if not n.endswith("_proj.weight")]
    params = [*linears, *others]
    muon, adam = Muon(linears), torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0)
    dev_rng = random.Random(a.seed + 77)
    dev = [[draw(m, "dev", dev_rng) for _ in range(a.dev_items)] for m in phase.mix]
    weights = [m.weight for m in phase.mix]
    if index > 0:
        steer(weights, evaluate(model, linears, dev, rank, a.workers, rounded=False), phase)
    seed = a.seed + phase.seed
    data = stream(phase.mix, weights, a.rows // a.workers, seed * 1000 + 1 + rank, seed, phase.wrapped)
    began, seen = time.time(), 0
    steps = min(phase.steps, a.max_steps or phase.steps)
    for step in range(steps):
        progress = step / phase.planned
        rate = min((step + 1) / a.warmup, 1.0) * min(1.0, (1 - progress) / phase.cooldown)
        x, y = next(data)
        masters = [p.data for p in linears]
        if progress >= phase.nf4_from:
            for p in linears:
                p.data = nf4(p.data)
        loss = loss_of(body, model.lm_head.weight, x, y)
        loss.backward()
        for p, w in zip(linears, masters, strict=True):
            p.data = w
        share_gradients(params, a.workers)
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for group in adam.param_groups:
            group["lr"] = phase.lr_adam * rate
        adam.step()
        muon.step(phase.lr_muon * rate)
        model.zero_grad(set_to_none=True)
        seen += x.numel() * a.workers
        last = step + 1 == steps
        if rank == 0 and (step + 1) % 20 == 0:
            spent = time.time() - began
            speed = f"{seen / spent:.0f} tokens/s {spent:.0f} s"
            print(f"phase {index} {step + 1:5d}/{steps} loss {loss.item():.4f} {speed}", flush=True)
        if (step + 1) % a.eval_every == 0 or last:
            scores = evaluate(model, linears, dev, rank, a.workers, rounded=progress >= phase.nf4_from)
            steer(weights, scores, phase)
            if rank == 0:
                row = " ".join(f"{m.name} {s:.3f}" for m, s in zip(phase.mix, scores, strict=True))
                print(f"  dev {row} [{time.time() - began:.0f} s]", flush=True)
                save(model, Path(a.out))


def evaluate(
    model: LlamaForCausalLM,
    linears: list[torch.nn.Parameter],
    dev: list[list[Item]],
    rank: int,
    workers: int,
    rounded: bool,
) -> list[float]:
    """Scores of all dev sets (NF4 weights where `rounded`), the sets shared out over the workers."""
    masters = [p.data for p in linears]
    if rounded:
        for p in linears:
            p.data = nf4(p.data)
    model.eval()
    scores = torch.zeros(len(dev), dtype=torch.float64)
    for i in range(rank, len(dev), workers):
        scores[i] = exact_matches(model, dev[i])
    model.train()
    for p, w in zip(linears, masters, strict=True):
        p.data = w
    if workers > 1:
        dist.all_reduce(scores)
    return scores.tolist()


def main() -> None:
    """`python -m edge_es.pocket.train`: trains pocket and writes it."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", required=True)
    p.add_argument("--start", help="continue from this folder's weights, at --first-phase")
    p.add_argument("--first-phase", type=int, default=0)
    p.add_argument("--max-steps", type=int, help="a trial: only so many steps of the first phase")
    p.add_argument("--rows", type=int, default=256, help="examples a step, over all workers")
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--warmup", type=int, default=40)
    p.add_argument("--eval-every", type=int, default=150)
    p.add_argument("--dev-items", type=int, default=192)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--port", type=int, default=29533)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    a = p.parse_args()
    if a.workers == 1:
        work(0, a)
    else:
        torch.multiprocessing.spawn(work, (a,), nprocs=a.workers)


if __name__ == "__main__":
    main()
