"""`edge-es config` and the files in configs/."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_es.config import load, parse_bytes
from service.cli.main import app

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))
runner = CliRunner()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("EDGE_ES_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_file_loads(path: Path) -> None:
    config = load(path)
    assert config.serve.host == "127.0.0.1"
    if config.learn.memory_budget != "auto":
        assert parse_bytes(config.learn.memory_budget) > 0


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem != "pocket"], ids=lambda path: path.stem)
def test_files_for_cards_say_that_they_are_not_measured(path: Path) -> None:
    assert "NOT YET MEASURED" in path.read_text(encoding="utf-8")


def test_the_presets_are_the_files() -> None:
    from service.cards import names

    assert set(names()) == {path.stem for path in CONFIGS}


def test_show_is_toml_that_loads_to_the_same_values(tmp_path: Path) -> None:
    source = tmp_path / "in.toml"
    source.write_text(
        '[metrics."näh e"]\ntype = "float"\nlow = -2.5\n[guards]\nclip = 0.25\n[serve]\nallowed_hosts = ["a", "b"]\n'
    )
    shown = runner.invoke(app, ["config", "show", "--config", str(source)])
    assert shown.exit_code == 0
    again = tmp_path / "out.toml"
    again.write_text(shown.stdout, encoding="utf-8")
    assert load(again) == load(source)
    as_json = runner.invoke(app, ["config", "show", "--config", str(source), "--json"])
    assert json.loads(as_json.stdout) == load(source).model_dump(mode="json")
    assert tomllib.loads(shown.stdout)["guards"]["clip"] == 0.25


def test_show_sees_the_environment_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.toml"
    source.write_text("[serve]\nport = 1000\n")
    monkeypatch.setenv("EDGE_ES_SERVE__PORT", "2000")
    shown = runner.invoke(app, ["config", "show", "--config", str(source), "--json"])
    assert json.loads(shown.stdout)["serve"]["port"] == 2000


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[serch]\nrank = 2\n", "serch"),
        ("[search]\nrnk = 2\n", "search.rnk"),
        ("[search]\nsigma = -1.0\n", "search.sigma"),
        ("[search]\nsigma = nan\n", "search.sigma"),
        ("[search]\npopulation = 3\n", "search.population"),
        ("[search\n", "line 1"),
    ],
)
def test_check_names_the_wrong_key(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    plain = runner.invoke(app, ["config", "check", str(file)])
    assert plain.exit_code == 1
    assert named in plain.stderr
    as_json = runner.invoke(app, ["config", "check", str(file), "--json"])
    assert as_json.exit_code == 1
    found = json.loads(as_json.stdout)
    assert found["ok"] is False
    assert named in found["error"]


def test_check_accepts_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[search]\nrank = 4\n")
    assert runner.invoke(app, ["config", "check", str(file)]).exit_code == 0
    assert json.loads(runner.invoke(app, ["config", "check", str(file), "--json"]).stdout)["ok"] is True


def test_init_keeps_a_file_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    assert runner.invoke(app, ["config", "init", str(file), "--preset", "8gb"]).exit_code == 0
    assert load(file).model.device == "cuda"
    file.write_text("[serve]\nport = 1\n")
    refused = runner.invoke(app, ["config", "init", str(file)])
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert file.read_text() == "[serve]\nport = 1\n"
    assert runner.invoke(app, ["config", "init", str(file), "--force"]).exit_code == 0
    assert load(file).model.ref == "pocket"


def init(file: Path, *options: str, status: int = 0, said: str | None = None) -> str:
    done = runner.invoke(app, ["config", "init", str(file), "--force", *options], input=said)
    assert done.exit_code == status, done.output
    return done.output


def test_init_picks_a_file_by_card_model_and_purpose(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    init(file, "--card", "12gb", "--model", "llama-3.2-3b")
    assert (load(file).model.ref, load(file).serve.max_slowdown) == ("meta-llama/Llama-3.2-3B-Instruct", 1.05)
    init(file, "--card", "24gb", "--for", "teach")
    assert (load(file).model.ref, load(file).serve.max_slowdown) == ("meta-llama/Llama-3.1-8B-Instruct", 2.0)
    init(file, "--preset", "8gb-qwen2.5-1.5b", "--for", "serve")
    assert load(file).learn.enabled is False
    init(file, "--card", "none")
    assert load(file).model.ref == "pocket"
    for options, named in (
        (("--card", "9gb"), "9gb"),
        (("--model", "qwen2.5-3b"), "--card"),
        (("--card", "8gb", "--model", "llama-3.1-8b"), "no room"),
        (("--card", "8gb", "--model", "gpt"), "gpt"),
        (("--for", "fun"), "fun"),
        (("--preset", "huge"), "huge"),
        (("--preset", "8gb", "--card", "8gb"), "--preset"),
    ):
        assert named in init(file, *options, status=2)


def test_init_asks_three_questions_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.cli import config as command

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(command.sys, "stdin", Terminal())
    answers = iter(["9gb", "16gb", "qwen2.5-3b", "teach"])
    asked: list[str] = []

    def prompt(text: str, default: str) -> str:
        asked.append(text)
        return next(answers)

    monkeypatch.setattr(command.typer, "prompt", prompt)
    file = tmp_path / "mine.toml"
    command.init(file)
    assert (load(file).model.ref, load(file).serve.max_slowdown) == ("Qwen/Qwen2.5-3B-Instruct", 2.0)
    assert len(asked) == 4 and "24gb" in asked[0] and "llama-3.1-8b" in asked[2] and "teach" in asked[3]


def test_check_explains_every_value_and_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[search]\nrank = 4\nsigma = 0.1\n[metrics.solved]\ntype = "boolean"\n')
    monkeypatch.setenv("EDGE_ES_SEARCH__SIGMA", "0.2")
    monkeypatch.setenv("EDGE_ES_LEARN", '{"batch": 7}')
    found = json.loads(runner.invoke(app, ["config", "check", str(file), "--json"]).stdout)
    told = {one["key"]: one for one in found["values"]}
    sources = {key: told[key]["source"] for key in ("search.rank", "search.sigma", "learn.batch", "learn.groups")}
    assert list(sources.values()) == ["c.toml", "EDGE_ES_SEARCH__SIGMA", "EDGE_ES_LEARN", "default"]
    assert told["search.sigma"]["value"] == 0.2 and "perturbation" in told["search.sigma"]["explanation"]
    assert told["metrics.solved.type"]["source"] == "c.toml" and told["metrics.solved.optimize"]["source"] == "default"
    assert told["guards.mask.kind"]["value"] == "none"
    plain = runner.invoke(app, ["config", "check", str(file)]).stdout
    assert "search.rank" in plain and "c.toml is fine" in plain


def test_serve_turns_only_given_options_into_overrides() -> None:
    from service.cli.serve import overrides

    assert overrides(None, None, None, None, None) == {}
    assert overrides("m", None, 0, Path("/s"), "cpu") == {
        "model": {"ref": "m", "device": "cpu"},
        "serve": {"port": 0},
        "state": {"dir": "/s"},
    }
