"""The description as people read it: whole, safe, and made for keyboards and small screens too."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import shlex
from collections import Counter
from html.parser import HTMLParser

import httpx
import pytest

from tests.api.contract import operations, resolved, the_document

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Parsed(HTMLParser):
    """What a page holds; raises AssertionError where an element ends that did not begin last."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.names: Counter[str] = Counter()
        self.headings: list[int] = []
        self.commands: list[str] = []
        self.style = ""
        self._open: list[str] = []
        self._is_command = False
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.names[tag] += 1
        self.ids.update([str(given["id"])] if given.get("id") else [])
        self.links += [str(given[name]) for name in ("href", "src", "action") if name in given]
        assert not any(name.startswith("on") or name == "style" for name in given), given
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self._is_command = given.get("class") == "curl"
        if self._is_command:
            self.commands.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self._is_command = False

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.style += data
        if self._is_command:
            self.commands[-1] += data


@pytest.fixture
async def answer(client: httpx.AsyncClient) -> httpx.Response:
    return await client.get("/api/v1/docs", headers={"Authorization": ""})


@pytest.fixture
def parsed(answer: httpx.Response) -> Parsed:
    return Parsed(answer.text)


class TestPage:
    def test_shows_every_operation_at_its_own_place(self, answer: httpx.Response, parsed: Parsed) -> None:
        for method, path, said in operations():
            assert parsed.ids[said["operationId"]] == 1
            assert f'<span class="method">{method}</span> {path}' in answer.text

    def test_says_of_every_refusal_what_to_do(self, answer: httpx.Response) -> None:
        for _, _, said in operations():
            article = re.search(f'<article id="{said["operationId"]}".*?</article>', answer.text, re.DOTALL)
            assert article is not None
            for status, refused in said["responses"].items():
                content = resolved(refused).get("content", {}).get("application/problem+json", {"examples": {}})
                assert all(code in article[0] for code in content["examples"]), (said["operationId"], status)
        remedies = {example["value"]["remedy"] for example in the_document()["components"]["examples"].values()}
        shown = re.sub("<[^>]+>", "", answer.text)
        told = {re.sub("`(.+?)`", r"\1", remedy) for remedy in remedies if remedy and not set(remedy) & set("'\"<>&*")}
        assert told
        assert [remedy for remedy in told if remedy not in shown] == []

    def test_shows_each_request_as_a_command(self, parsed: Parsed) -> None:
        paths = {path: method for method, path, _ in operations()}

        assert len(parsed.commands) == len(operations())
        for command in parsed.commands:
            words = [word for word in shlex.split(command.replace("\\\n", "")) if word]
            assert words[:2] == ["curl", "-X"]
            path = words[3].removeprefix("$DCF_URL").partition("?")[0]
            # The number of a tile is the only parameter that may have several segments.
            known = (re.sub(r"\{\w+\}", "[^/]+", one.replace("{tile}", ".+")) for one in paths)
            assert any(re.fullmatch(pattern, path) for pattern in known), path

    def test_leads_nowhere_else(self, parsed: Parsed) -> None:
        outside = [link for link in parsed.links if not link.startswith(("#", "/api/v1/"))]
        nowhere = [link for link in parsed.links if link.startswith("#") and not parsed.ids[link[1:]]]

        assert (outside, nowhere) == ([], [])
        assert "url(" not in parsed.style
        assert "@import" not in parsed.style

    def test_is_allowed_its_own_style_and_nothing_else(self, answer: httpx.Response, parsed: Parsed) -> None:
        digest = base64.b64encode(hashlib.sha256(parsed.style.encode()).digest()).decode()
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))

        assert policy["default-src"] == "'none'"
        assert policy["style-src"] == f"'sha256-{digest}'"
        assert "script-src" not in policy
        assert parsed.names["script"] == 0

    def test_can_be_read_by_anybody(self, answer: httpx.Response, parsed: Parsed) -> None:
        assert '<html lang="en">' in answer.text
        assert all(parsed.names[landmark] == 1 for landmark in ("header", "nav", "main", "footer", "h1", "title"))
        assert parsed.links[0] == "#operations", "a way past the contents"
        assert all(after <= before + 1 for before, after in zip(parsed.headings, parsed.headings[1:], strict=False))
        assert max(parsed.ids.values()) == 1
        assert "prefers-color-scheme: dark" in parsed.style
        assert "focus-visible" in parsed.style

    async def test_is_not_sent_to_those_who_have_it(self, client: httpx.AsyncClient, answer: httpx.Response) -> None:
        again = await client.get("/api/v1/docs", headers={"If-None-Match": answer.headers["etag"]})
        head = await client.head("/api/v1/docs")

        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"].startswith("public")
        assert again.status_code == 304
        assert (head.status_code, head.content) == (200, b"")


class TestDescription:
    async def test_is_made_once_however_many_ask_at_once(self, client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*(client.get(f"/api/v1/{name}") for name in ("docs", "openapi.json") * 4))

        assert [answer.status_code for answer in answers] == [200] * 8
        assert len({answer.content for answer in answers}) == 2
