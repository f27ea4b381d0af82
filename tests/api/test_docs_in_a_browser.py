"""The page of the API as a browser shows it: nothing runs over its edge, nothing is refused, dark where dark is asked for.

Method: Chromium, spoken to over a pipe (Chrome DevTools Protocol), loads the page that the API answers with.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.world import World

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
SECONDS_MAX = 60.0
_FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)
# What is wider than the window, though it is not what a scrolling box holds.
_TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Columns too narrow for a word.
_BROKEN = """[...document.querySelectorAll('td:first-child code, th')].filter(it => it.getClientRects().length > 1
    || it.getBoundingClientRect().height > 2 * parseFloat(getComputedStyle(it).lineHeight)).length"""
_BACKGROUND = "getComputedStyle(document.body).backgroundColor"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


class Browser:
    """One page of a Chromium that is spoken to over a pipe. `said` is what its console and its log hold."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._held, self._last = to, back, b"", 0
        self._session = ""
        self.said: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: object) -> Any:
        self._last += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._last, "method": method, "params": params, **session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._until(lambda told: told.get("id") == self._last)["result"]

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        self._until(lambda told: told.get("method") == "Page.loadEventFired")

    def value(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def _until(self, is_it: Any) -> Any:
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            while b"\0" not in self._held:
                ready, _, _ = select.select([self._back], [], [], max(0.0, deadline - time.monotonic()))
                assert ready, "the browser says nothing"
                self._held += os.read(self._back, 1 << 20)
            text, _, self._held = self._held.partition(b"\0")
            told = json.loads(text)
            if told.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                self.said.append(json.dumps(told["params"])[:500])
            if is_it(told):
                return told


@contextmanager
def _browser(profile: Path) -> Iterator[Browser]:
    assert CHROMIUM is not None
    theirs_in, to = os.pipe()
    back, theirs_out = os.pipe()
    # It reads from 3 and writes to 4, whatever these are here.
    start = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"'
    process = subprocess.Popen(
        ["/bin/bash", "-c", start, "start", CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(theirs_in, theirs_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(to, back)
    finally:
        process.terminate()
        process.wait(timeout=SECONDS_MAX)
        os.close(to)
        os.close(back)


@contextmanager
def _served(answer: httpx.Response) -> Iterator[str]:
    """The answer, over HTTP, at every path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_page = self.path == "/docs"
            self.send_response(200 if is_page else 204)
            for name, value in answer.headers.items() if is_page else ():
                if name not in ("content-encoding", "content-length"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content if is_page else b"")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/docs"
        finally:
            server.shutdown()
            thread.join()


async def test_fits_wide_and_narrow_windows_by_day_and_night(world: World, tmp_path: Path) -> None:
    async with world.client("") as client:
        answer = await client.get("/api/v1/docs")

    seen = []
    with _served(answer) as url, _browser(tmp_path) as browser:
        browser.open(url)
        for width, scheme in ((1280, "light"), (360, "dark")):
            browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.ask("Emulation.setDeviceMetricsOverride", **size)
            seen.append([browser.value(expression) for expression in (_TOO_WIDE, _BROKEN, _BACKGROUND)])
        said = browser.said

    assert said == []
    assert seen == [[0, 0, "rgb(255, 255, 255)"], [0, 0, "rgb(13, 17, 23)"]]
