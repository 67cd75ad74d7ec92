"""The unit and the container file: they parse, and say what SECURITY.md says they do."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_es.config import load

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging" / "edge-es.service"
CONTAINER = ROOT / "packaging" / "Containerfile"


def unit() -> dict[str, dict[str, str]]:
    """section -> key -> value; the values of a key that comes more than once are joined by lines."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            assert re.fullmatch(r"\[[A-Z][a-z]+\]", line), line
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals and key.isalnum(), line
            section[key] = f"{section[key]}\n{value}" if key in section else value
    return found


def test_the_unit_is_hardened_and_waits_for_the_daemons_word() -> None:
    service = unit()["Service"]
    wanted = {
        "Type": "notify",
        "Restart": "always",
        "User": "edge-es",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "NoNewPrivileges": "yes",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "RestrictNamespaces": "yes",
        "UMask": "0077",
        "StateDirectoryMode": "0700",
    }
    assert {key: service.get(key) for key in wanted} == wanted
    assert int(service["WatchdogSec"]) >= 30
    assert service["SupplementaryGroups"] == "render video"
    command = shlex.split(service["ExecStart"])
    assert command[1:] == ["serve", "--state-dir", f"/var/lib/{service['StateDirectory']}"]
    assert unit()["Install"] == {"WantedBy": "multi-user.target"}


def test_the_command_of_the_unit_exists() -> None:
    command = shlex.split(unit()["Service"]["ExecStart"])
    done = subprocess.run(
        [sys.executable, "-m", "service.cli.main", command[1], "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and command[2] in done.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_unit() -> None:
    done = subprocess.run(["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "edge-es" in line]
    assert [line for line in said if "is not executable" not in line] == []  # the program is not installed here


def test_the_container_runs_without_root_and_listens_behind_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub(r"\\\n", " ", CONTAINER.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    instructions = [line.split(None, 1) for line in lines]
    names = [name for name, _ in instructions]
    known = "FROM ARG RUN COPY USER ENV VOLUME EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD"
    assert set(names) <= set(known.split())
    last = {line[0]: line[1] for line in instructions}
    assert last["USER"] == "10001" and names.index("USER") < names.index("ENTRYPOINT")
    for source in (
        word for name, value in instructions if name == "COPY" and "--from" not in value for word in value.split()[:-1]
    ):
        assert (ROOT / source).exists(), source
    settings = dict(pair.split("=", 1) for pair in last["ENV"].split())
    for name, value in settings.items():
        if name.startswith("EDGE_ES_"):
            monkeypatch.setenv(name, value)
    config = load()
    assert (config.serve.host, config.state.dir, config.serve.port) == ("0.0.0.0", last["VOLUME"], int(last["EXPOSE"]))
