"""What a probe round is held against: the suites of prior abilities, and the scores that a version is paired with."""

from collections.abc import Mapping
from pathlib import Path

from edge_es import ledger
from edge_es.config import Config
from edge_es.errors import StateError
from edge_es.model import Base
from edge_es.probes.suites import Suite, load_suite
from service.probe_files import suite_paths
from service.store import Store


def prior_suites(base: Base, config: Config, folder: Path) -> list[Suite]:
    """The suites added to the state folder, and the configured ones.

    Raises InputError naming a bad file's line, StateError for two suites of one name.
    """
    suites = [load_suite(path) for path in suite_paths(base.ref, config, folder)]
    names = [suite.name for suite in suites]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise StateError(f"probes.suites names two suites '{min(twice)}'; rename one of the files")
    return suites


def reference(store: Store, suite: Suite, since: int) -> Mapping[str, list[float]]:
    """The anchor's scores; for what was learned, those of the best version that still stands, probed at version `since`
    or later."""
    version = best_version(store, suite.name, since) if suite.learned else 0
    if version is None:
        return {}
    keys = [key for key in store.probed_suites(version) if key == suite.name or key.startswith(f"{suite.name}/")]
    found = {key: store.item_scores(version, key) for key in keys}
    return {key: scores for key, scores in found.items() if scores}


def best_version(store: Store, suite: str, since: int) -> int | None:
    """Of the versions that stand, the best on the items that all of them were scored on; those with less than half of
    the most items are not compared, or a version that was good on the first few would be the best for ever."""
    taken = ledger.undone(store.rows())
    scores = {
        version: scores
        for version in store.versions_probed_on(suite)
        if version >= since and version not in taken
        if (scores := store.item_scores(version, suite))
    }
    most = max(map(len, scores.values()), default=0)
    scores = {version: some for version, some in scores.items() if 2 * len(some) >= most}
    common = min(map(len, scores.values()), default=0)
    return max(scores, key=lambda version: (sum(scores[version][:common]), version), default=None)
