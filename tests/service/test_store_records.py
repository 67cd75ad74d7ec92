"""Completions, settings and probe rounds in the store."""

from edge_es.feedback import Prompt
from edge_es.probes.verdicts import SuiteResult, Verdict
from service.store import Answer, Store, StoredCompletion


def test_completions_are_found_by_id_and_by_episode(store: Store) -> None:
    made = [
        StoredCompletion(str(i), 3, "chat", Prompt.user(f"say {i}"), (Answer(str(i), "stop"),), 4, 2, episode)
        for i, episode in enumerate(["a", "b", "a", None])
    ]
    for completion in made:
        store.add_completion(completion)
    found = store.completion("0")
    assert found is not None and found.prompt == made[0].prompt and found.answers == made[0].answers
    assert [c.id for c in store.episode("a")] == ["0", "2"]
    assert store.completion("none") is None and store.episode("none") == []


def test_settings_are_json_values(store: Store) -> None:
    assert store.get_setting("learning") is None
    store.put_setting("learning", {"paused": True})
    store.put_setting("learning", {"paused": False, "scale": 0.5})
    assert store.get_setting("learning") == {"paused": False, "scale": 0.5}


def result(version: int, suite: str, verdict: Verdict = "kept", score: float = 0.5) -> SuiteResult:
    return SuiteResult(version, suite, "choice", 2, score, 1.0, score, 0.4, 0.6, verdict, "t")


def test_probe_rounds_keep_items_and_the_latest_round_of_a_version_wins(store: Store) -> None:
    store.save_probe(0, "t", [result(0, "facts", score=1.0)], {"facts": [1.0, 1.0]})  # type: ignore[list-item]
    store.save_probe(2, "t", [result(2, "facts", "dropped")], {"facts": [0.0, 0.25]})  # type: ignore[list-item]
    assert store.passed_versions() == [0]
    assert store.anchor_scores("facts") == [1.0, 1.0] and store.item_scores(2, "facts") == [0.0, 0.25]
    assert store.anchor_scores("other") is None
    store.save_probe(2, "u", [result(2, "facts", score=float("nan"))], {"facts": [1.0, 0.0]})  # type: ignore[list-item]
    assert store.passed_versions() == [0, 2]
    assert [(row["version"], row["score"], row["at"]) for row in store.probe_results()] == [
        (0, 1.0, "t"),
        (2, None, "u"),
    ]
    assert store.probe_results(2)[0]["verdict"] == "kept"
