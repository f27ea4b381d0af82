"""Larger files go in pieces; whatever comes between, none is sent again that has arrived."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import artifacts, resuming
from cli.account import Account
from cli.client import Api, Json, Refused
from cli.resuming import ASTRAY_MAX, sent_in_pieces
from cli.trouble import Trouble
from process.secret import Secret
from tests.api.world import World
from tests.cli.conftest import Terminal
from tests.cli.served import Answered, problem, scripted

CONTENT = b"void main() {}\n" + b"// a line of a long file\n" * 400
ApiAt = Callable[[str], Api]
ARTIFACT = Answered(201, {"artifactId": "1"})


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "PIECE_BYTES", 4_000)
    monkeypatch.setattr(artifacts, "RESUMABLE_BYTES_MIN", 8_000)


def state(offset: int) -> Answered:
    return Answered(202, {"uploadId": "7", "offset": offset})


@pytest.fixture
def api_at() -> Iterator[ApiAt]:
    """A client of the service at an address, that does not wait."""
    made: list[Api] = []

    def make(url: str) -> Api:
        made.append(Api(Account(url, Secret("dcf_key")), pause=lambda _: None))
        return made[-1]

    yield make
    for api in made:
        api.close()


class Interrupted(Api):
    """Somebody presses Ctrl-C after the first piece."""

    def append_to_upload(self, path: str, offset: int, piece: bytes, *, is_last: bool) -> Json:
        if offset:
            raise KeyboardInterrupt
        return super().append_to_upload(path, offset, piece, is_last=is_last)


class TestSentInPieces:
    def test_goes_on_from_where_the_service_stands(self, api_at: ApiAt) -> None:
        with scripted(state(4_000), state(8_000), ARTIFACT) as (url, script):
            sent_in_pieces(api_at(url), "code", "1", CONTENT)

        begun, *pieces = script.asked
        assert begun.headers["upload-length"] == str(len(CONTENT))
        assert [piece.headers["upload-offset"] for piece in pieces] == ["4000", "8000"]
        assert b"".join(piece.body for piece in pieces) == CONTENT[4_000:]
        assert [piece.headers["upload-complete"] for piece in pieces] == ["?0", "?1"]

    def test_begins_the_same_upload_with_the_same_file_and_no_other(self, api_at: ApiAt) -> None:
        with scripted(at={"uploads": [state(len(CONTENT))], "7": [ARTIFACT]}) as (url, script):
            for content, project_id in ((CONTENT, "1"), (CONTENT, "1"), (CONTENT + b"x", "1"), (CONTENT, "2")):
                sent_in_pieces(api_at(url), "code", project_id, content)

        first, second, *others = [asked.headers["idempotency-key"] for asked in script.asked if asked.method == "POST"]
        assert first == second
        assert len({first, *others}) == 3

    def test_asks_where_to_go_on_when_the_service_stands_elsewhere(self, api_at: ApiAt) -> None:
        elsewhere = problem(409, "upload_offset_mismatch")

        with scripted(state(0), elsewhere, state(8_000), ARTIFACT) as (url, script):
            sent_in_pieces(api_at(url), "code", "1", CONTENT)

        assert [asked.method for asked in script.asked] == ["POST", "PATCH", "GET", "PATCH"]
        assert script.asked[-1].body == CONTENT[8_000:]

    def test_gives_up_against_somebody_who_sends_too(self, api_at: ApiAt) -> None:
        with (
            scripted(at={"uploads": [state(0)], "7": [problem(409, "upload_overtaken"), state(0)] * 9}) as (
                url,
                script,
            ),
            pytest.raises(Trouble, match="Somebody else"),
        ):
            sent_in_pieces(api_at(url), "code", "1", CONTENT)

        assert sum(asked.method == "PATCH" for asked in script.asked) == ASTRAY_MAX

    def test_tells_any_other_refusal(self, api_at: ApiAt) -> None:
        with scripted(problem(413, "body_too_large")) as (url, _), pytest.raises(Refused) as refused:
            sent_in_pieces(api_at(url), "code", "1", CONTENT)

        assert refused.value.code == "body_too_large"


class TestUpload:
    def test_of_a_larger_file_comes_to_the_artifact_of_the_whole(self, owner: Terminal, tmp_path: Path) -> None:
        (tmp_path / "main.dart").write_bytes(CONTENT)
        owner.must("projects", "create", "shop")

        first, again = [
            owner.must("artifacts", "upload", str(tmp_path / "main.dart"), "--json").json["items"] for _ in range(2)
        ]

        assert first == again
        assert first[0]["digest"] == "sha256:" + hashlib.sha256(CONTENT).hexdigest()

    def test_goes_on_after_it_was_interrupted(
        self, owner: Terminal, service: tuple[str, World], tmp_path: Path
    ) -> None:
        """*Method:* the first run ends after a piece; the service would refuse a byte that is sent again."""
        (tmp_path / "main.dart").write_bytes(CONTENT)
        project_id = owner.must("projects", "create", "shop", "--json").json["projectId"]
        api = Interrupted(Account(service[0], Secret(service[1].owner_key)))
        with pytest.raises(KeyboardInterrupt):
            sent_in_pieces(api, "code", project_id, CONTENT)
        api.close()

        [artifact] = owner.must("artifacts", "upload", str(tmp_path / "main.dart"), "--json").json["items"]

        assert artifact["digest"] == "sha256:" + hashlib.sha256(CONTENT).hexdigest()

    def test_takes_a_file_of_any_name_once_its_kind_is_said(self, owner: Terminal, tmp_path: Path) -> None:
        (tmp_path / "server.dart").write_text("void main() {}")
        owner.must("projects", "create", "shop")

        [artifact] = owner.must("artifacts", "upload", str(tmp_path / "server.dart"), "--kind", "code", "--json").json[
            "items"
        ]

        assert artifact["fileName"] == "main.dart"
