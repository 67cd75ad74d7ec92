"""`EdgeLM`: a base with a version's delta as a model of lm-evaluation-harness, in process.

Scores as edge-es scores its own probes (`likelihood.score`) and decodes as it answers requests (`decode.generate`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from edge_es.answers import Row, Sampling
from edge_es.config import ModelSection
from edge_es.decode import generate
from edge_es.errors import InputError
from edge_es.likelihood import Text, score
from edge_es.model import Base, load_base
from edge_es.slices import run
from edge_es.spaces.delta import Delta

MAX_TOKENS = 4096  # padded tokens scored together
MAX_ROWS = 32  # answers generated together
ANSWER = 256  # tokens where a task states no limit


@register_model("edge-es")
class EdgeLM(TemplateLM):  # type: ignore[misc]
    """`lm_eval.simple_evaluate(model=EdgeLM(base, delta), tasks=[...])`.

    base: as `load_base` gives it. delta: the version; none is the anchor. max_tokens: padded tokens of a scored batch.
    max_rows: answers in the making at once. Texts that exceed the context lose their beginning, as with other models
    of the harness. Raises InputError for a generation that leaves no room for its prompt, or samples by a rule that
    edge-es has not.
    """

    def __init__(
        self, base: Base, delta: Delta | None = None, max_tokens: int = MAX_TOKENS, max_rows: int = MAX_ROWS
    ) -> None:
        super().__init__()
        self.base, self.delta = base, delta if delta is not None else Delta()
        self.max_tokens, self.max_rows = max_tokens, max_rows
        self.tokenizer = base.tokenizer

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None) -> "EdgeLM":
        """The anchor of a model, by the keys of `[model]`: `simple_evaluate(model="edge-es", model_args={"ref": ...})`
        in a program that has imported this module. The harness's own command does not import it."""
        return cls(load_base(ModelSection(**arg_dict)))

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> "EdgeLM":
        """As `create_from_arg_obj`, of `key=value,...`."""
        return cls.create_from_arg_obj(dict(pair.split("=", 1) for pair in arg_string.split(",") if pair))

    @property
    def eot_token_id(self) -> int:
        """The token that ends an answer."""
        return self.base.end_ids[0]

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context: its beginning where the tokenizer knows one."""
        begin = self.base.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def max_length(self) -> int:
        """Tokens of context."""
        return self.base.context

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; special tokens as the tokenizer adds them by itself, unless it is said or they stand there."""
        begin = self.base.tokenizer.bos_token
        if add_special_tokens is None and begin and string.startswith(begin):
            add_special_tokens = False
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        ids: list[int] = self.base.tokenizer(string, **options).input_ids
        return ids

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        texts = []
        for _names, context, answer in requests:
            known = tuple((context + answer)[-self.base.context :])
            begin = max(1, len(known) - len(answer))  # the first token of all is predicted by nothing
            texts.append(Text(known[:begin], known[begin:]))
        found = run(score(self.base, self.delta, texts, self.max_tokens))
        return list(zip(found.total.tolist(), found.greedy.tolist(), strict=True))

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, nats: every token once, in windows of the context's size."""
        windows: list[tuple[None, list[int], list[int]]] = []
        of: list[int] = []
        for number, request in enumerate(requests):
            rolling = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.base.context - 1,  # one less than others have: what predicts nothing is read, too
                context_len=1,
            )
            some = [(None, *make_disjoint_window(window)) for window in rolling]
            windows += some
            of += [number] * len(some)
        totals = torch.zeros(len(requests), dtype=torch.float64)
        for number, (total, _greedy) in zip(of, self._loglikelihood_tokens(windows), strict=True):
            totals[number] += total
        return list(totals.tolist())

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers, greedy unless the task samples; without the string that ended them."""
        rows = [self._row(*request.args) for request in requests]
        return [answer.text for answer in run(generate(self.base, rows, self.max_rows))]

    def _row(self, context: str, options: Mapping[str, Any]) -> Row:
        kwargs = normalize_gen_kwargs(dict(options), ANSWER)
        limit, temperature = int(kwargs["max_gen_toks"]), float(kwargs.get("temperature") or 0.0)
        unknown = set(kwargs) - {"max_gen_toks", "temperature", "until", "do_sample", "top_p"}
        if unknown:
            raise InputError(
                f"generation_kwargs: edge-es has no {sorted(unknown)[0]}; leave it out", "generation_kwargs"
            )
        if limit >= self.base.context:
            raise InputError(
                f"max_gen_toks: {limit} leave no room for a prompt in a context of {self.base.context}; state less",
                "max_gen_toks",
            )
        ids = tuple(self.tok_encode(context)[-(self.base.context - limit) :])
        stops = tuple(stop for stop in kwargs["until"] if stop)
        sampling = Sampling(limit, temperature, float(kwargs.get("top_p") or 1.0), stop=stops)
        return Row(ids or (self.prefix_token_id,), self.delta, sampling)
