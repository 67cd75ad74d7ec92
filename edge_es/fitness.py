"""What feedback is worth: an event's score under a member, and a batch's scores -> one fitness for every member.

Per event a z-score across members (a spread below FLOOR is a tie and weighs nothing), then the weighted mean over
events, so that nats, 0/1 and grades mix. What an event's score is:

demonstration  mean log-likelihood a token of the better answer
preference     log-sigmoid of the difference in log-likelihood gain over the anchor
rating         centred rating times the gain of the rated completion
task           the member's own greedy answer, graded

Gains are clipped to 2 nats an answer token, so that no member is paid for making an answer impossible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_es.feedback import Event, Exchange
from edge_es.likelihood import Text
from edge_es.model import Base, encode_answer, encode_prompt

FLOOR = 1e-5  # smallest standard deviation across members that is more than rounding
MOST_DRIFT = 1.0  # standard deviations of the fitness that drift may be
GAIN_CLIP = 2.0  # nats an answer token


@dataclass(frozen=True)
class Fitness:
    """members: (N,) float64, what `strategy` shapes. means: raw mean score per event kind. kl: mean over members of
    the KL to the anchor on protected inputs, None where it did not join."""

    members: np.ndarray
    means: dict[str, float]
    tie_rate: float
    reliability: float | None
    kl: float | None


def text_of(base: Base, exchange: Exchange) -> Text:
    """The tokens of an exchange. Raises InputError where they do not fit the context."""
    answer = encode_answer(base, exchange.answer, exchange.ended)
    return Text(encode_prompt(base, exchange.prompt, room=len(answer)), answer)


def texts_of(base: Base, event: Event) -> list[Text]:
    """Texts that the event's score needs, in the order of its exchanges. A task's answer is empty: it is generated."""
    if event.kind == "task":
        return [Text(encode_prompt(base, e.prompt), ()) for e in event.exchanges]
    return [text_of(base, exchange) for exchange in event.exchanges]


def event_scores(
    events: Sequence[Event],
    own: Sequence[Sequence[int]],
    totals: np.ndarray,
    lengths: np.ndarray,
    anchor: np.ndarray | None,
    grades: np.ndarray,
    centres: Mapping[str, float],
) -> np.ndarray:
    """Raw scores, (events, members) float64.

    own: each event's texts, as indices. totals: (N, texts) log-likelihoods, nats. lengths: (texts,) answer tokens.
    anchor: (texts,) the anchor's; None where no event is paid for a gain. grades: (N, tasks), in event order. centres:
    running mean of each metric's ratings.
    """
    graded = iter(grades.T)
    rows: list[np.ndarray] = []
    for event, texts in zip(events, map(list, own), strict=True):
        if event.kind == "task":
            rows.append(next(graded))
            continue
        if event.kind == "demonstration":
            rows.append((totals[:, texts] / lengths[texts]).mean(1))
            continue
        assert anchor is not None
        most = GAIN_CLIP * lengths[texts]
        gain = np.clip(totals[:, texts] - anchor[texts], -most, most)  # (N, exchanges)
        if event.kind == "preference":
            rows.append(-np.logaddexp(0.0, gain[:, 1] - gain[:, 0]))
        else:
            assert event.value is not None and event.metric is not None
            rows.append((event.value - centres.get(event.metric, 0.0)) * (gain / lengths[texts]).mean(1))
    return np.stack(rows) if rows else np.zeros((0, len(totals)))


def zscores(raw: np.ndarray) -> np.ndarray:
    """Per event a z-score across members, (events, members); zeros where the spread is a tie, or not a number."""
    spread = raw.std(1)
    live = spread > FLOOR  # False for NaN too
    scores = np.zeros_like(raw)
    scores[live] = (raw[live] - raw[live].mean(1, keepdims=True)) / spread[live, None]
    return scores


def combine(
    raw: np.ndarray,
    kinds: Sequence[str],
    drift: np.ndarray | None,
    kl_weight: float,
    weights: Sequence[float] | None = None,
) -> Fitness:
    """raw: (events, members) scores; drift: (members,) KL to the anchor; weights: of the events, None: all alike.
    Returns the members' fitness."""
    spread = raw.std(1)
    live = spread > FLOOR  # NaN is caught by the signal gate through `members`
    scores = zscores(raw)
    weighs = np.ones(len(raw)) if weights is None else np.asarray(weights, dtype=np.float64)
    counted = live & (weighs > 0)
    members = np.average(scores[counted], 0, weighs[counted]) if counted.any() else np.zeros(raw.shape[1])
    if not np.isfinite(raw).all():
        members = np.full(raw.shape[1], np.nan)
    if drift is not None and not np.isfinite(drift).all():
        members = np.full(raw.shape[1], np.nan)
    elif drift is not None and drift.std() > FLOOR:
        # A nat of drift weighs as kl_weight nats of what is taught, by the events' own spread: little while there is
        # much to learn, and more as the events are learned; at most as much as all events together can.
        spreads = float(np.median(spread[counted])) if counted.any() else 0.0
        weight = min(kl_weight / max(spreads, FLOOR), MOST_DRIFT / float(drift.std()))
        members = members - weight * (drift - drift.mean())
    means = {kind: float(raw[[k == kind for k in kinds]].mean()) for kind in dict.fromkeys(kinds)}
    return Fitness(
        members=members,
        means=means,
        tie_rate=1.0 - float(live.mean()),
        reliability=reliability(scores[counted], weighs[counted]),
        kl=float(drift.mean()) if drift is not None else None,
    )


def joined(parts: Sequence[Fitness]) -> Fitness:
    """The fitness of a population that was scored in parts, each on items of its own; parts count alike."""
    if len(parts) == 1:
        return parts[0]
    kinds = dict.fromkeys(kind for part in parts for kind in part.means)
    reliabilities = [part.reliability for part in parts if part.reliability is not None]
    drifts = [part.kl for part in parts if part.kl is not None]
    return Fitness(
        members=np.concatenate([part.members for part in parts]),
        means={kind: float(np.mean([part.means[kind] for part in parts if kind in part.means])) for kind in kinds},
        tie_rate=float(np.mean([part.tie_rate for part in parts])),
        reliability=float(np.mean(reliabilities)) if reliabilities else None,
        kl=float(np.mean(drifts)) if drifts else None,
    )


def reliability(scores: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """Split-half reliability of the members' fitness; None under two events.

    The mean over all ways to halve the events, stepped up by Spearman-Brown (Cronbach 1951), from the mean correlation
    of two events, by their weights: one split scatters more by half. A negative correlation is stepped up alike, so
    that what noise gives is centred on 0.

    scores: (events, members) z-scores; weights: (events,) over 0, None: all alike.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    whole, own = float(weights.sum()) ** 2, float((weights**2).sum())
    if whole <= own * (1 + 1e-9):  # one event, or one that outweighs all others
        return None
    n = whole / own  # events of equal weight that would scatter as much
    r = (float((weights @ scores).var()) - own) / (whole - own)
    return n * r / (1 + (n - 1) * abs(r))
