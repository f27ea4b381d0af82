"""What is said of the locked packages, by an index that knows, by one that knows half, and by none at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.emulators.background import Background
from tests.support.advisories import CLEAN, NOT_ASKED, VULNERABLE, locked, main

ROOT = Path(__file__).parent.parent
PAGES: dict[str, dict[str, Any]] = {
    "/pypi/sound/1.0/json": {"info": {"version": "1.0"}, "vulnerabilities": []},
    "/pypi/holed/2.1/json": {
        "info": {"version": "2.1"},
        "vulnerabilities": [
            {"id": "PYSEC-1", "aliases": ["CVE-1"], "summary": "It leaks.", "fixed_in": ["2.2"]},
            {"id": "PYSEC-2", "withdrawn": "2026-01-01T00:00:00Z"},
        ],
    },
    # Of a mirror that has the newest version's page only.
    "/pypi/newest/3.0/json": {},
    "/pypi/newest/json": {"info": {"version": "3.0"}, "vulnerabilities": []},
    "/pypi/older/json": {"info": {"version": "9.9"}, "vulnerabilities": []},
}


@pytest.fixture
def index() -> Iterator[str]:
    async def page(request: web.Request) -> web.Response:
        found = PAGES.get(request.path)
        return web.json_response(found) if found else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    background = Background()
    try:
        yield f"http://127.0.0.1:{background.serve(app)}"
    finally:
        background.close()


def _lock(folder: Path, *packages: str) -> str:
    path = folder / "some.lock"
    path.write_text("# by a tool\n" + "".join(f"{one} \\\n    --hash=sha256:00\n" for one in packages))
    return str(path)


class TestAdvisories:
    @pytest.mark.parametrize(
        ("packages", "code", "words"),
        [
            (("sound==1.0", "newest==3.0 ; sys_platform == 'linux'"), CLEAN, "2 packages: 0 vulnerable, 0 could not"),
            (("sound==1.0", "holed==2.1", "gone==1"), VULNERABLE, "holed 2.1: PYSEC-1 CVE-1: It leaks. Mended in 2.2."),
            (("older==1.0", "sound==1.0"), NOT_ASKED, "the index tells of another version only): older 1.0"),
            (("gone==1",), NOT_ASKED, "the index answers 404): gone 1"),
            ((), NOT_ASKED, "0 packages"),
        ],
    )
    def test_tells_what_is_known_from_what_could_not_be_asked(
        self,
        tmp_path: Path,
        index: str,
        capsys: pytest.CaptureFixture[str],
        packages: tuple[str, ...],
        code: int,
        words: str,
    ) -> None:
        assert main(["--index", index, _lock(tmp_path, *packages)]) == code

        said = capsys.readouterr().out
        assert words in said
        assert "PYSEC-2" not in said

    def test_says_that_nobody_could_be_asked(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]

        assert main(["--index", f"http://127.0.0.1:{port}", _lock(tmp_path, "sound==1.0")]) == NOT_ASKED
        assert "ConnectError" in capsys.readouterr().out

    def test_finds_every_package_of_our_lock(self) -> None:
        text = (ROOT / "requirements.lock").read_text()

        assert len(locked(text)) == text.count("==") > 50
