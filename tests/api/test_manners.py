"""What is promised of every route, tried on every route there is: the description says which these are.

A new route is tried from the moment it is declared. Its path parameters and its body are the examples it declares, with
real ids for those of `api.example_ids`.
"""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from api.compression import GZIP_BYTES_MIN
from tests.api.contract import operations, resolved, the_document
from tests.api.seeded import Seeded, more, roomy_world, seeded
from tests.api.steps import fields_of, is_problem
from tests.api.world import World

# One world for all of them: what a test changes is its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

Said = dict[str, Any]
_TRACE = "0af7651916cd43dd8448eb211c80319c"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# What these answer moves without an event, and their ETag is for If-Match alone.
_NEVER_UNCHANGED = {"getKey", "getMember", "getWebhook"}
# The tenant is connected to this machine only.
_ELSEWHERE = {"getProjectionJob", "getAwsIntegration", "getAzureIntegration", "getGcpIntegration"}
# Of the writes, those whose example asks for a state that what is seeded is not in, or for a cloud that is not offered.
_REFUSED = {
    "acceptInvitation": "only_people",
    "addMember": "already_member",
    "addRuntime": "runtime_exists",
    "archiveProject": "project_is_live",
    "cancelDeployment": "deployment_is_over",
    "cancelProjectionJob": "no_projection_job",
    "checkAwsBucket": "integration_not_found",
    "checkAzureBucket": "integration_not_found",
    "checkGcpBucket": "integration_not_found",
    "configureAwsBucket": "integration_not_found",
    "configureAzureBucket": "integration_not_found",
    "configureGcpBucket": "integration_not_found",
    "disconnectAws": "integration_not_found",
    "disconnectAzure": "integration_not_found",
    "disconnectGcp": "integration_not_found",
    "eraseMe": "only_people",
    "leaveTenant": "only_people",
    "replayWebhook": "replay_from_the_future",
    "retryDeployment": "deployment_not_retryable",
    "rollbackDeployment": "rollback_active",
    "switchReadModelBack": "nothing_to_switch_back_to",
    "verifyAws": "provider_not_offered",
    "verifyAzure": "integration_not_found",
    "verifyAzureResources": "integration_not_found",
    "verifyGcp": "integration_not_found",
}
# How far a list is walked.
_WALKED = 4


def _those(*methods: str, **wanted: bool) -> pytest.MarkDecorator:
    chosen = [
        pytest.param(method, path, said, id=said["operationId"])
        for method, path, said in operations()
        if method in methods and all(_is(said, name) is want for name, want in wanted.items())
    ]
    return pytest.mark.parametrize(("method", "path", "said"), chosen)


def _is(said: Said, what: str) -> bool:
    names = {parameter["name"] for parameter in map(resolved, said["parameters"])}
    match what:
        case "write":
            return "Idempotency-Key" in names
        case "guarded":
            return "x-permission" in said
        case "list":
            return {"limit", "cursor"} <= names
        case "there":
            return said["operationId"] not in _ELSEWHERE
        case _:
            raise AssertionError(what)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with roomy_world(tmp_path_factory.mktemp("manners")) as world:
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(shared: World) -> Seeded:
    """What no test changes."""
    return await seeded(shared)


@pytest_asyncio.fixture(loop_scope="module")
async def own(shared: World) -> Seeded:
    """What belongs to one test, to change as it likes."""
    return await seeded(shared)


@pytest.fixture
def none(one: Seeded) -> Seeded:
    """Ids of nothing at all."""
    return _of_nothing(one)


class TestReads:
    @_those("GET", there=True)
    async def test_head_says_what_get_would(self, one: Seeded, method: str, path: str, said: Said) -> None:
        async with one.client(said) as client:
            got = await client.request(**one.request("GET", path, said))
            head = await client.request(**one.request("HEAD", path, said))

        assert got.status_code == 200, got.text
        assert (head.status_code, head.content) == (200, b"")
        same = ("content-type", "content-length", "etag", "content-encoding", "vary", "cache-control")
        assert {name: head.headers.get(name) for name in same} == {name: got.headers.get(name) for name in same}

    @_those("GET", there=True)
    async def test_have_an_etag_by_which_a_second_one_is_spared(
        self, one: Seeded, method: str, path: str, said: Said
    ) -> None:
        async with one.client(said) as client:
            for accepted in ("identity", "gzip"):
                headers = {"Accept-Encoding": accepted}
                got = await client.request(**one.request("GET", path, said, headers=headers))
                known = {**headers, "If-None-Match": got.headers["etag"]}
                again = await client.request(**one.request("GET", path, said, headers=known))
                other = await client.request(**one.request("GET", path, said, headers={"If-None-Match": '"other"'}))

                assert other.status_code == 200
                if said["operationId"] not in _NEVER_UNCHANGED:
                    assert (again.status_code, again.content) == (304, b"")
                    assert "content-type" not in again.headers

    @_those("GET", there=True)
    async def test_are_sent_smaller_to_who_takes_that(self, one: Seeded, method: str, path: str, said: Said) -> None:
        async with one.client(said) as client:
            plain, content = await _raw(client, one.request("GET", path, said, headers={"Accept-Encoding": "br"}))
            small, bytes_ = await _raw(
                client, one.request("GET", path, said, headers={"Accept-Encoding": "br, gzip;q=0.5"})
            )

        shrinks = plain.headers["content-type"].startswith(("application/json", "text/html"))
        assert "content-encoding" not in plain.headers
        assert ("content-encoding" in small.headers) is (shrinks and len(content) >= GZIP_BYTES_MIN)
        if shrinks:
            assert plain.headers["vary"] == small.headers["vary"] == "Accept-Encoding"
        if "content-encoding" in small.headers:
            assert small.headers["content-encoding"] == "gzip"
            assert int(small.headers["content-length"]) == len(bytes_)
            assert gzip.decompress(bytes_) == content
            assert small.headers["etag"] != plain.headers["etag"], "other bytes have another tag"

    @_those("GET", list=True)
    async def test_cursors_hold_while_things_are_added(self, own: Seeded, method: str, path: str, said: Said) -> None:
        """Goal: walking a list one by one shows each of what was there at the start once, in order.

        Method: between any two pages, something new of every kind that is listed.
        """
        async with own.client(said) as client:
            whole = (await _page(client, own, path, said, limit="200"))["items"][:_WALKED]
            walked: list[Any] = []
            asked = {"limit": "1"}
            for _ in whole:
                page = await _page(client, own, path, said, **asked)
                walked += page["items"]
                asked["cursor"] = page["nextCursor"]
                await more(own)

        assert whole, "a list with nothing in it says nothing about its cursors: add to tests/api/seeded.py"
        assert [_name(item) for item in walked] == [_name(item) for item in whole]


class TestWrites:
    @_those(*_METHODS, write=True)
    async def test_are_done_once_under_one_key(self, own: Seeded, method: str, path: str, said: Said) -> None:
        headers = {"Idempotency-Key": str(uuid4())}
        async with own.client(said) as client:
            first = await client.request(**own.request(method, path, said, headers=headers))
            head = await own.world.log.head()
            again = await client.request(**own.request(method, path, said, headers=headers))

        assert first.status_code < 500
        assert again.status_code == first.status_code
        assert _the_same_each_time(again) == _the_same_each_time(first)
        assert await own.world.log.head() == head, "nothing was recorded the second time"
        if first.is_success:
            assert again.headers["event-position"] == first.headers["event-position"]
        assert again.headers.get("etag") == first.headers.get("etag")

    @_those(*_METHODS, write=True)
    async def test_refuse_the_key_of_another_request(self, own: Seeded, method: str, path: str, said: Said) -> None:
        headers = {"Idempotency-Key": str(uuid4())}
        async with own.client(said) as client:
            before = await own.world.log.head()
            await client.request(**own.request(method, path, said, headers=headers))
            if await own.world.log.head() == before:
                return  # Refused before anything was decided, so there is nothing to stand by.
            others = _others(own, method, path, said, headers=headers)
            answers = [await client.request(**other) for other in others]

        # Not all that was made of the example can be read, or confirms what it has to.
        assert "idempotency_key_reused" in {answer.json()["code"] for answer in answers}
        assert all(answer.is_client_error for answer in answers)

    @_those(*_METHODS, write=True)
    async def test_need_not_wait_until_they_are_seen(self, own: Seeded, method: str, path: str, said: Said) -> None:
        headers = {"Prefer": "wait=3, respond-async"}
        async with own.client(said) as client:
            answer = await client.request(**own.request(method, path, said, headers=headers))

        if answer.is_success:
            assert answer.headers["preference-applied"] == "respond-async"
            assert answer.headers["event-position"]

    async def test_most_are_done_as_their_examples_stand(self, tmp_path: Path) -> None:
        """The rest ask for a state that not every project is in: a deployment that failed, a cloud that is offered."""
        refused: dict[str, str] = {}
        async with roomy_world(tmp_path) as world:
            for method, path, said in operations():
                if _is(said, "write"):
                    own = await seeded(world)
                    async with own.client(said) as client:
                        answer = await client.request(**own.request(method, path, said))
                    if not answer.is_success:
                        refused[said["operationId"]] = answer.json()["code"]

        assert refused == _REFUSED


class TestEveryRoute:
    @_those(*_METHODS)
    async def test_says_which_methods_it_takes(self, one: Seeded, method: str, path: str, said: Said) -> None:
        there = {other.upper() for other in the_document()["paths"][path]}
        allowed = {*there, "OPTIONS", *({"HEAD"} if "GET" in there else ())}
        address = one.address(path, said)
        async with one.client(said) as client:
            options = await client.options(address)
            others = [await client.request(other, address) for other in {*_METHODS, "HEAD"} - allowed]

        assert (options.status_code, options.content) == (204, b"")
        assert _listed(options) == allowed
        for answer in others:
            assert answer.status_code == 405
            assert _listed(answer) == allowed

    @_those(*_METHODS, guarded=True)
    async def test_refuses_what_it_does_not_take(self, one: Seeded, method: str, path: str, said: Said) -> None:
        async with one.client(said) as client:
            for name in ("sort", "filter[name]", "x"):
                answer = await client.request(**one.request(method, path, said, params={name: "1"}))

                assert is_problem(answer, 422, "parameter_invalid")
                assert fields_of(answer) == [name]

    @_those(*_METHODS)
    async def test_refuses_what_it_cannot_read(self, one: Seeded, method: str, path: str, said: Said) -> None:
        taken = [parameter for parameter in map(resolved, said["parameters"]) if parameter["in"] == "query"]
        async with one.client(said) as client:
            for name in (parameter["name"] for parameter in taken):
                twice = await client.request(**one.request(method, path, said, params={name: ["1", "1"]}))
                assert twice.status_code == 422
            for parameter in taken:
                if parameter["schema"] != {"type": "string"}:
                    params = {parameter["name"]: "neither this nor that"}
                    answer = await client.request(**one.request(method, path, said, params=params))
                    assert answer.status_code == 422, parameter["name"]

    @_those(*_METHODS)
    async def test_knows_requests_by_the_names_they_come_with(
        self, none: Seeded, method: str, path: str, said: Said
    ) -> None:
        async with none.client(said) as client:
            named = await client.request(**none.request(method, path, said, headers={"X-Request-Id": "ci-42"}))
            traced = await client.request(
                **none.request(method, path, said, headers={"traceparent": f"00-{_TRACE}-b7ad6b7169203331-01"})
            )
            nameless = await client.request(**none.request(method, path, said))

        assert named.headers["x-request-id"] == "ci-42"
        assert UUID(named.headers["x-correlation-id"]).version == 5
        assert UUID(traced.headers["x-correlation-id"]) == UUID(_TRACE)
        version, trace, span, flags = traced.headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", _TRACE, "01")
        assert span != "b7ad6b7169203331", "our place in the trace is another one than the caller's"
        assert nameless.headers["x-request-id"] == nameless.headers["x-correlation-id"]
        assert "traceparent" not in nameless.headers


async def _raw(client: httpx.AsyncClient, request: dict[str, Any]) -> tuple[httpx.Response, bytes]:
    """The answer, and its body as it came over the wire."""
    client.event_hooks = {"response": []}
    async with client.stream(**request) as answer:
        return answer, b"".join([chunk async for chunk in answer.aiter_raw()])


async def _page(client: httpx.AsyncClient, one: Seeded, path: str, said: Said, **asked: str) -> Any:
    answer = await client.request(**one.request("GET", path, said, params=asked))
    assert answer.status_code == 200, answer.text
    return answer.json()


def _name(item: Any) -> Any:
    """What tells an item from the others of its list."""
    return item.get("position") or next(iter(item.values()))


def _listed(answer: httpx.Response) -> set[str]:
    return {name.strip() for name in answer.headers["allow"].split(",")}


def _the_same_each_time(answer: httpx.Response) -> Any:
    """The answer without what is shown once, or names the one request."""
    return {
        name: value
        for name, value in answer.json().items()
        if name not in ("key", "secret", "invitation", "correlationId")
    }


def _others(one: Seeded, method: str, path: str, said: Said, **changes: Any) -> list[dict[str, Any]]:
    """The operation with other bodies; where it has none, or nothing in it, asked of other things."""
    request = one.request(method, path, said, **changes)
    if "json" in request and (bodies := [one for one in _otherwise(request["json"]) if one != request["json"]]):
        return [{**request, "json": body} for body in bodies]
    if "content" in request:
        return [{**request, "content": request["content"] + b"\n"}]
    if "files" in request:
        name, content = request["files"]["file"]
        return [{**request, "files": {"file": (name, content + "\n")}}]
    return [{**request, "url": _of_nothing(one).address(path, said)}]


def _otherwise(value: Any) -> Iterator[Any]:
    """The same JSON with one thing in it said otherwise."""
    match value:
        case bool():
            yield not value
        case int() | float():
            yield value + 1
        case "admin":
            yield "viewer"
        case str():
            yield value + "x"
            yield value.translate(str.maketrans("12345678", "23456789"))  # Another date, id or version.
        case dict():
            for name, inner in value.items():
                for other in _otherwise(inner):
                    yield {**value, name: other}
        case list():
            for at, inner in enumerate(value):
                for other in _otherwise(inner):
                    yield [*value[:at], other, *value[at + 1 :]]
        case _:
            return


def _of_nothing(one: Seeded) -> Seeded:
    return Seeded(one.world, one.key, {example: str(uuid4()) for example in one.ids})
