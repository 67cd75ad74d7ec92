"""`POST /v1/export` and `/v1/import`: who may, and what a name can reach."""

from collections.abc import Iterator

import pytest
from echo_daemon import Daemon, refused, served


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with served(tmp_path_factory.mktemp("state")) as made:
        yield made


def test_only_the_admin_may(daemon: Daemon) -> None:
    for path in ("/v1/export", "/v1/import"):
        refused(daemon.stranger.post(path, json={"kind": "peft", "name": "a"}), 401)
        chat = {"Authorization": f"Bearer {daemon.context.tokens.chat}"}
        refused(daemon.stranger.post(path, json={"kind": "peft", "name": "a"}, headers=chat), 403)


def test_an_export_lies_under_the_state_folder_and_nowhere_else(daemon: Daemon) -> None:
    made = daemon.client.post("/v1/export", json={"kind": "delta", "name": "mine"}).json()
    place = daemon.store.folder / "exports" / "mine"
    assert made["path"] == str(place) and place.is_dir()
    assert daemon.client.post("/v1/export", json={"kind": "merged"}).json()["path"].endswith("/exports/merged-v0")
    refused(daemon.client.post("/v1/export", json={"kind": "delta", "name": "mine"}), 409, code="not_possible")


@pytest.mark.parametrize("name", ["/etc", "../x", "..", ".hidden", "a/b", "a\\b", "", "a\n", "x" * 65, "a\x00"])
def test_what_is_no_plain_name_is_refused(daemon: Daemon, name: str) -> None:
    before = sorted(daemon.store.folder.rglob("*"))
    for path in ("/v1/export", "/v1/import"):
        refused(daemon.client.post(path, json={"kind": "peft", "name": name}), 422, "name")
    assert sorted(daemon.store.folder.rglob("*")) == before


def test_what_does_not_exist_and_what_no_field_takes(daemon: Daemon) -> None:
    refused(daemon.client.post("/v1/export", json={"kind": "peft", "version": 9}), 404, "version")
    refused(daemon.client.post("/v1/import", json={"kind": "peft", "name": "absent"}), 404, "name")
    refused(daemon.client.post("/v1/export", json={"kind": "gguf"}), 422, "kind")
    refused(daemon.client.post("/v1/export", json={"kind": "peft", "rank": 7}), 422, "rank")
    refused(daemon.client.post("/v1/export", json={"kind": "peft", "path": "/tmp/x"}), 422, "path")
    refused(daemon.client.post("/v1/import", json={"kind": "merged", "name": "a"}), 422, "kind")
