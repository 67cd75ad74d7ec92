"""From a request to the pieces of its answers: admission, waiting, keeping what was served. Knows no OpenAI shape."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from edge_es.errors import InputError, StateError
from edge_es.feedback import Drawn, Prompt
from service.clock import uuid7
from service.context import Context
from service.errors import ApiError
from service.generation import Generation, Piece
from service.metrics import Stopwatch
from service.schemas import AnswerRequest
from service.sse import PING_SECONDS
from service.store import Answer, StoredCompletion

if TYPE_CHECKING:
    from edge_es.answers import TokenLogprob
    from edge_es.model import Base

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_EPISODE = 128  # characters of X-Session-Id


@dataclass
class Choice:
    """One answer as it grows."""

    prompt_ids: tuple[int, ...]
    text: str = ""
    tokens: int = 0
    logprobs: list["TokenLogprob"] = field(default_factory=list)
    prompt_logprobs: list["TokenLogprob"] = field(default_factory=list)
    finish_reason: str | None = None


@dataclass
class Answering:
    """A request that is being answered. version, member: known from the first piece on. prompt: None where what is
    asked for is a measurement, which is not kept: nobody rates it."""

    context: Context
    kind: Literal["chat", "text"]
    prompt: Prompt | None
    episode: str | None
    generation: Generation
    queue: "asyncio.Queue[Piece]"
    choices: list[Choice]
    created: int = field(default_factory=lambda: int(time.time()))
    version: int = 0
    member: Drawn | None = None
    watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def id(self) -> str:
        """The inference id."""
        return self.generation.id

    def usage(self) -> dict[str, int]:
        """OpenAI's token counts."""
        prompt, answers = _prompt_tokens(self.generation), sum(choice.tokens for choice in self.choices)
        return {"prompt_tokens": prompt, "completion_tokens": answers, "total_tokens": prompt + answers}

    def head(self, kind: str) -> dict[str, Any]:
        """What every answer and chunk begins with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.context.model_id + (ANCHOR if self.generation.pinned == 0 else ""),
            "system_fingerprint": f"edge-es-v{self.version}",
        }

    def headers(self) -> dict[str, str]:
        """The version, for those who do not read bodies."""
        return {"x-edge-es-version": str(self.version)}


ANCHOR = "@0"  # behind the model's name: version 0 is to answer, the model as first loaded


def require_model(context: Context, name: str) -> Literal[0] | None:
    """The version that the name asks for, None for the served one. Raises ApiError 404 for what is not served."""
    names = (context.model_id, context.config.model.ref)
    if name in names:
        return None
    if name.endswith(ANCHOR) and name.removesuffix(ANCHOR) in names:
        return 0
    message = f"the model '{name}' does not exist; this daemon serves '{context.model_id}'"
    if name.partition("@")[0] in names:
        message += f", and as '{context.model_id}{ANCHOR}' the model as first loaded; other versions only by a rollback"
    raise ApiError(404, message, "model", "model_not_found")


def _episode(request: Request) -> str | None:
    episode = request.headers.get("x-session-id")
    if episode is not None and not 0 < len(episode) <= MAX_EPISODE:
        raise InputError(f"X-Session-Id: must have 1 to {MAX_EPISODE} characters", "X-Session-Id")
    return episode


async def begin(context: Context, request: Request, body: AnswerRequest, kind: Literal["chat", "text"]) -> Answering:
    """Hands the request to the device thread. Raises ApiError, InputError or Busy that names what is wrong."""
    context.require_ready()
    pinned = require_model(context, body.model)
    number = body.n or 1
    if number > context.config.serve.max_rows:
        raise InputError(f"n: at most {context.config.serve.max_rows} (serve.max_rows)", "n")
    episode = _episode(request)
    asked = body.asked()
    if len(asked) * number > context.config.serve.max_rows:
        most = f"at most {context.config.serve.max_rows} (serve.max_rows) prompts at once, times `n`"
        raise InputError(f"prompt: {most}", "prompt")
    from edge_es.answers import Sampling

    base, limit = context.engine.base, body.token_limit()
    wanted = context.config.serve.max_tokens if limit is None else limit
    # As OpenAI has it: the choices of the first prompt, then those of the second.
    prompts = [ids for ids in await run_in_threadpool(_encoded, base, asked, wanted) for _ in range(number)]
    seed = secrets.randbits(63) if body.seed is None else body.seed % 2**64
    samplings = [
        Sampling(
            max_tokens=min(wanted, base.context - len(ids)),
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            seed=(seed + choice) % 2**64,
            stop=tuple(body.stop or ()),
            top=body.alternatives(),
            echo=body.echoes() and body.alternatives() >= 0,
        )
        for choice, ids in enumerate(prompts)
    ]
    queue: asyncio.Queue[Piece] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def deliver(piece: Piece) -> None:
        with suppress(RuntimeError):  # the loop is gone: nobody listens any more
            loop.call_soon_threadsafe(queue.put_nowait, piece)

    measured = body.echoes() or not isinstance(asked[0], Prompt) or len(asked) > 1
    repeatable = body.seed is not None or measured
    own = tuple(prompts) if len(asked) > 1 else ()
    generation = Generation(uuid7(), max(prompts, key=len), samplings, deliver, repeatable, pinned, prompts=own)
    context.engine.submit(generation)
    kept = asked[0] if isinstance(asked[0], Prompt) and not measured else None
    return Answering(context, kind, kept, episode, generation, queue, [Choice(ids) for ids in prompts])


def _encoded(base: "Base", asked: "list[Prompt | list[int]]", wanted: int) -> list[tuple[int, ...]]:
    """Token ids of each prompt. Raises InputError where one does not fit, or has a token that is none."""
    from edge_es.model import encode_prompt

    room = min(1, wanted)
    found = []
    for prompt in asked:
        if isinstance(prompt, Prompt):
            found.append(encode_prompt(base, prompt, room))
            continue
        if max(prompt) >= base.vocabulary:
            raise InputError(f"prompt: there is no token {max(prompt)}; ids go to {base.vocabulary - 1}", "prompt")
        if len(prompt) + room > base.context:
            held = f"{room} must be left for the answer, but the context holds {base.context}"
            raise InputError(f"prompt: it has {len(prompt)} tokens and {held}; shorten it", "prompt")
        found.append(tuple(prompt))
    return found


def _prompt_tokens(generation: Generation) -> int:
    """Tokens of all prompts; a prompt with several choices counts once, as OpenAI counts."""
    return sum(map(len, set(generation.prompts))) if generation.prompts else len(generation.prompt_ids)


async def pieces(answering: Answering) -> AsyncIterator[Piece | None]:
    """The pieces as they come; None where nothing came for a while. What was served is kept before the last one.

    Raises ApiError where the engine fails. Whoever stops listening stops the generation.
    """
    try:
        while any(choice.finish_reason is None for choice in answering.choices):
            try:
                # Not wait_for, which drops a cancellation that comes with a piece (Python 3.11).
                async with asyncio.timeout(PING_SECONDS):
                    piece = await answering.queue.get()
            except TimeoutError:
                yield None
                continue
            if piece.error is not None:
                raise ApiError(500, piece.error, code="engine_failed")
            if not answering.generation.samplings[piece.choice].echo:
                piece = replace(piece, logprobs=_spoken(answering, piece))
            _take(answering, piece)
            if all(choice.finish_reason is not None for choice in answering.choices):
                await run_in_threadpool(_keep, answering)
            yield piece
    finally:
        answering.generation.cancelled = True


def _spoken(answering: Answering, piece: Piece) -> tuple["TokenLogprob", ...]:
    """Log-probabilities of what the answer says: the token that ends it is not part of it."""
    ends = answering.context.engine.base.end_ids
    return tuple(entry for entry in piece.logprobs if entry.token not in ends)


def _take(answering: Answering, piece: Piece) -> None:
    metrics = answering.context.metrics
    if all(choice.tokens == 0 for choice in answering.choices):
        metrics.first_token.observe(answering.watch.seconds())
        metrics.prompt_tokens.inc(_prompt_tokens(answering.generation))
    metrics.completion_tokens.inc(len(piece.tokens))
    answering.version, answering.member = piece.version, piece.member
    choice = answering.choices[piece.choice]
    choice.text += piece.text
    choice.tokens += len(piece.tokens)
    choice.logprobs += piece.logprobs
    choice.prompt_logprobs += piece.prompt_logprobs
    choice.finish_reason = piece.finish_reason


def _keep(answering: Answering) -> None:
    """Stores the completion, so that feedback can name it. A disk that refuses does not keep the answer back."""
    if answering.prompt is None:
        return
    usage = answering.usage()
    completion = StoredCompletion(
        id=answering.id,
        version=answering.version,
        kind=answering.kind,
        prompt=answering.prompt,
        answers=tuple(Answer(choice.text, choice.finish_reason or "") for choice in answering.choices),
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        episode_id=answering.episode,
        member=answering.member,
    )
    try:
        answering.context.store.add_completion(completion)
    except StateError as error:
        answering.context.metrics.unstored.inc()
        log.error("completion %s was served but not kept, so feedback cannot name it: %s", answering.id, error)


async def collect(answering: Answering) -> None:
    """Waits for all choices to end."""
    async for _ in pieces(answering):
        pass


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client goes away first: ApiError then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ApiError(499, "the client went away")  # nobody reads it
    finally:
        for unfinished in (task, gone):
            unfinished.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
