"""Served answers, kept so that feedback can name them by inference id or by episode."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from edge_es.feedback import Drawn, Prompt
from service.clock import now
from service.database import Database


@dataclass(frozen=True)
class Answer:
    """One choice of a completion."""

    text: str
    finish_reason: str  # stop | length


@dataclass(frozen=True)
class StoredCompletion:
    """What was asked, what was answered, and by which version; member: the one of it that did, if it was not itself."""

    id: str
    version: int
    kind: Literal["chat", "text"]
    prompt: Prompt
    answers: tuple[Answer, ...]
    prompt_tokens: int
    completion_tokens: int
    episode_id: str | None = None
    member: Drawn | None = None
    created_at: str = ""  # set by the store


class CompletionTable(Database):
    """The part of the store that keeps completions."""

    def add_completion(self, completion: StoredCompletion) -> None:
        """Durable when it returns. Raises DiskFull."""
        answers = [asdict(answer) for answer in completion.answers]
        values = (
            completion.id,
            now(),
            completion.version,
            completion.kind,
            json.dumps(completion.prompt.as_json(), ensure_ascii=False),
            json.dumps(answers, ensure_ascii=False),
            completion.episode_id,
            completion.prompt_tokens,
            completion.completion_tokens,
            json.dumps(asdict(completion.member)) if completion.member else None,
        )

        def write() -> None:
            self._db.execute(
                """INSERT INTO completions (id, created_at, version, kind, input, answers, episode_id,
                                            prompt_tokens, completion_tokens, member)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                values,
            )

        self.together(write)

    def completion(self, completion_id: str) -> StoredCompletion | None:
        """By inference id."""
        found = self._completions("id = ?", completion_id)
        return found[0] if found else None

    def forget_completions(self, keep: int, limit: int) -> int:
        """Removes at most `limit` of those that are older than the newest `keep`; feedback that named one has kept what
        was asked and answered. Returns how many were removed."""
        last = "SELECT seq FROM completions ORDER BY seq DESC LIMIT 1 OFFSET ?"
        old = f"SELECT seq FROM completions WHERE seq <= ({last}) ORDER BY seq LIMIT ?"
        with self.transaction() as db:
            return db.execute(f"DELETE FROM completions WHERE seq IN ({old})", (keep, limit)).rowcount

    def newest_completion(self) -> int:
        """How many answers were ever kept."""
        return int(self.query("SELECT coalesce(max(seq), 0) FROM completions")[0][0])

    def episode(self, episode_id: str, limit: int = -1) -> list[StoredCompletion]:
        """The completions of a session, oldest first, at most `limit`; -1: all."""
        return self._completions("episode_id = ?", episode_id, limit)

    def _completions(self, condition: str, value: str, limit: int = -1) -> list[StoredCompletion]:
        return [
            StoredCompletion(
                id=row["id"],
                version=row["version"],
                kind=row["kind"],
                prompt=Prompt.from_json(json.loads(row["input"])),
                answers=tuple(Answer(**answer) for answer in json.loads(row["answers"])),
                prompt_tokens=row["prompt_tokens"],
                completion_tokens=row["completion_tokens"],
                episode_id=row["episode_id"],
                member=Drawn(**json.loads(row["member"])) if row["member"] else None,
                created_at=row["created_at"],
            )
            for row in self.query(f"SELECT * FROM completions WHERE {condition} ORDER BY seq LIMIT ?", value, limit)
        ]
