"""The configuration: file < environment < command line, unknown keys are errors, and the errors name the key."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es.config import Config, load, parse_bytes, read_toml
from edge_es.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("EDGE_ES_"):
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "edge-es.toml"
    path.write_text(text)
    return path


def test_defaults_need_nothing() -> None:
    config = load()
    assert (config.model.ref, config.serve.host, config.serve.port) == ("pocket", "127.0.0.1", 8420)
    assert (config.probes.every, config.probes.tolerance, config.probes.alpha) == (50, 0.02, 0.01)
    assert config.learn.holdout == 0.2
    assert set(config.all_metrics()) == {"thumbs", "rating"}


def test_file_under_environment_under_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "[search]\nrank = 3\npopulation = 8\nsigma = 0.5\n[serve]\nport = 1000\n")
    assert load(path).search.rank == 3
    monkeypatch.setenv("EDGE_ES_SEARCH__POPULATION", "16")
    monkeypatch.setenv("EDGE_ES_SEARCH__SIGMA", "0.25")
    config = load(path, {"search": {"sigma": 0.125}, "serve": {"host": "::1"}})
    assert (config.search.rank, config.search.population, config.search.sigma) == (3, 16, 0.125)
    assert (config.serve.port, config.serve.host) == (1000, "::1")
    assert config.search.alpha == Config().search.alpha


def test_nested_sections_keep_their_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, '[guards]\nclip = 2.0\n[guards.mask]\nkind = "random"\n[guards.protect]\nenergy = 0.9\n')
    monkeypatch.setenv("EDGE_ES_GUARDS__MASK__DENSITY", "0.5")
    config = load(path, {"guards": {"protect": {"inputs": "mine.jsonl"}}})
    assert config.guards.clip == 2.0
    assert (config.guards.mask.kind, config.guards.mask.density) == ("random", 0.5)
    assert (config.guards.protect.energy, config.guards.protect.inputs) == (0.9, "mine.jsonl")


def test_lists_are_replaced_not_joined(tmp_path: Path) -> None:
    path = write(tmp_path, '[probes]\nsuites = ["a.jsonl", "b.jsonl"]\n')
    assert load(path, {"probes": {"suites": ["c.jsonl"]}}).probes.suites == ["c.jsonl"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[serch]\nrank = 3\n", "serch"),
        ("[search]\nranks = 3\n", "search.ranks"),
        ("[guards.mask]\nshare = 0.5\n", "guards.mask.share"),
        ("[metrics.stars]\ntype = 'float'\nmaximum = 5\n", "metrics.stars.maximum"),
        ("[search]\nrank = 0\n", "search.rank"),
        ("[search]\nsigma = nan\n", "search.sigma"),
        ("[search]\nsigma = inf\n", "search.sigma"),
        ("[search]\nspace = 'sideways'\n", "search.space"),
        ("[search]\npopulation = 7\n", "search.population"),
        ("[search]\nrank = 8\nmax_rank = 4\n", "search.max_rank"),
        ("[learn]\nholdout = 1.0\n", "learn.holdout"),
        ("[probes]\nalpha = 0\n", "probes.alpha"),
        ("[serve]\nport = 70000\n", "serve.port"),
        ("[serve]\nport = 'http'\n", "serve.port"),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert f"configuration key {key}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_keys_of_the_environment_and_the_command_line_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"search\.ranks"):
        load(None, {"search": {"ranks": 3}})
    monkeypatch.setenv("EDGE_ES_SEARCH__RANKS", "3")
    with pytest.raises(ConfigError, match=r"(?i)search\.ranks"):
        load()


def test_a_misspelt_section_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_ES_TOKEN", "no key of the tree, but of the command line client")
    load()
    monkeypatch.setenv("EDGE_ES_SERCH__RANK", "3")
    with pytest.raises(ConfigError, match="EDGE_ES_SERCH__RANK"):
        load()


def test_an_unreadable_value_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_ES_SEARCH__RANK", "three")
    with pytest.raises(ConfigError, match=r"search\.rank"):
        load()


def test_the_command_line_is_checked_like_the_file() -> None:
    with pytest.raises(ConfigError, match=r"search\.population"):
        load(None, {"search": {"population": 9}})
    with pytest.raises(ConfigError, match=r"serve\.port"):
        load(None, {"serve": {"port": -1}})


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml does not exist"):
        load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match=r"edge-es\.toml cannot be read: .*line 2"):
        read_toml(write(tmp_path, "[search]\nrank = \n"))
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.toml cannot be read"):
        read_toml(tmp_path / "latin.toml")


def test_metrics_are_added_to_the_built_in_ones_or_replace_them(tmp_path: Path) -> None:
    path = write(tmp_path, "[metrics.errors]\ntype = 'float'\noptimize = 'min'\n[metrics.thumbs]\ntype = 'float'\n")
    metrics = load(path).all_metrics()
    assert metrics["errors"].optimize == "min"
    assert metrics["thumbs"].type == "float"
    assert metrics["rating"].type == "float"


def test_the_tree_is_frozen() -> None:
    config: Any = load()
    with pytest.raises(ValueError):
        config.search.rank = 3
    with pytest.raises(ValueError):
        config.search = None


def test_shipped_configurations_load() -> None:
    folder = Path(__file__).parents[2] / "configs"
    paths = sorted(folder.glob("*.toml"))
    assert paths
    for path in paths:
        load(path)


def test_what_is_shown_can_be_read_back(tmp_path: Path) -> None:
    config = load(None, {"search": {"rank": 5}, "guards": {"mask": {"kind": "random", "density": 0.5}}})
    assert load(None, config.model_dump()) == config
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert tomllib.loads("") == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 * 2**30),
        ("512 MiB", 512 * 2**20),
        ("1000000", 10**6),
        ("1.5kb", 1500),
        ("2 tib", 2 * 2**40),
        ("0", 0),
        (" 7 B ", 7),
    ],
)
def test_parse_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "eight", "8 GB/s", "8Gi", "8X", "-1GiB", "nan", "inf", "infGiB", "8 8 GiBGiB"]
)
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        parse_bytes(text)


@given(text=st.text(max_size=20))
def test_any_text_is_a_size_or_a_configuration_error(text: str) -> None:
    try:
        size = parse_bytes(text)
    except ConfigError as error:
        assert "8GiB" in str(error)  # noqa: PT017
    else:
        assert size >= 0


@given(size=st.integers(0, 2**20), unit=st.sampled_from(["B", "KiB", "MiB", "GiB", "KB", "MB", "GB"]))
def test_units(size: int, unit: str) -> None:
    scale = {"B": 0, "K": 1, "M": 2, "G": 3}[unit[0]]
    assert parse_bytes(f"{size}{unit}") == size * (1024 if "i" in unit else 1000) ** scale
