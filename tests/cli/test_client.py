"""The client repeats what is safe to repeat, and says what to do about the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cli import exits
from cli.account import Account
from cli.client import ATTEMPTS_MAX, Api, Refused, Unreachable
from cli.trouble import Trouble
from process import ports
from process.secret import Secret
from tests.cli.served import Answered, problem, scripted

BUSY = problem(503, "store_unavailable")


ApiAt = Callable[..., Api]


@pytest.fixture
def api_at() -> Iterator[ApiAt]:
    """A client of the service at an address, which notes how long it would wait."""
    made: list[Api] = []

    def make(url: str, waits: list[float] | None = None) -> Api:
        made.append(Api(Account(url, Secret("dcf_key")), pause=(waits if waits is not None else []).append))
        return made[-1]

    yield make
    for api in made:
        api.close()


class TestRepeats:
    def test_a_write_is_repeated_under_the_same_key_with_the_same_bytes(self, api_at: ApiAt) -> None:
        with scripted(BUSY, BUSY, Answered(201, {"projectId": "1"})) as (url, script):
            made = api_at(url).write("POST", "projects", {"name": "shop"})

        assert made == {"projectId": "1"}
        assert len(script.asked) == 3
        assert len({request.headers["idempotency-key"] for request in script.asked}) == 1
        assert {request.body for request in script.asked} == {b'{"name":"shop"}'}

    def test_so_is_an_upload(self, api_at: ApiAt) -> None:
        with scripted(BUSY, Answered(201, {"path": "p"})) as (url, script):
            api_at(url).upload("code", "1", "main.dart", b"void main() {}")

        first, second = script.asked
        assert first.body == second.body
        assert first.headers["content-type"] == second.headers["content-type"]
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]

    def test_two_writes_have_two_keys(self, api_at: ApiAt) -> None:
        with scripted(Answered(201, {})) as (url, script):
            api = api_at(url)
            api.write("POST", "projects", {})
            api.write("POST", "projects", {})

        assert len({request.headers["idempotency-key"] for request in script.asked}) == 2

    def test_waits_as_long_as_the_service_asks(self, api_at: ApiAt) -> None:
        waits: list[float] = []
        busy = Answered(503, BUSY.body, (("retry-after", "3"),), "application/problem+json")

        with scripted(busy, Answered(200, {})) as (url, _):
            api_at(url, waits).get("me")

        assert waits == [3.0]

    def test_waits_its_turn_among_too_many_requests(self, api_at: ApiAt) -> None:
        waits: list[float] = []
        early = Answered(429, problem(429, "too_many_requests").body, (("retry-after", "2"),))

        with scripted(early, Answered(200, {})) as (url, _):
            api_at(url, waits).write("POST", "projects", {})

        assert waits == [2.0]

    def test_gives_up_when_that_is_too_long(self, api_at: ApiAt) -> None:
        waits: list[float] = []
        busy = Answered(503, BUSY.body, (("retry-after", "600"),), "application/problem+json")

        with scripted(busy) as (url, _), pytest.raises(Unreachable) as gone:
            api_at(url, waits).get("me")

        assert waits == []
        assert gone.value.exit_code == exits.UNREACHABLE

    def test_gives_up_after_so_many_times(self, api_at: ApiAt) -> None:
        with scripted(BUSY) as (url, script), pytest.raises(Unreachable):
            api_at(url).get("me")

        assert len(script.asked) == ATTEMPTS_MAX

    def test_never_repeats_a_refusal(self, api_at: ApiAt) -> None:
        with scripted(problem(429, "queue_full")) as (url, script), pytest.raises(Refused):
            api_at(url).write("POST", "projects", {})

        assert len(script.asked) == 1

    def test_nobody_at_the_address(self, api_at: ApiAt) -> None:
        listener = ports.listen("127.0.0.1", 0, variable="-")
        port = listener.getsockname()[1]
        listener.close()
        waits: list[float] = []

        with pytest.raises(Unreachable) as gone:
            api_at(f"http://127.0.0.1:{port}", waits).get("me")

        assert len(waits) == ATTEMPTS_MAX - 1
        assert "dcf serve" in gone.value.then


class TestRefusals:
    def test_says_which_field_and_what_to_do(self, api_at: ApiAt) -> None:
        refusal = problem(422, "name_invalid", errors=[{"field": "name", "message": "too long"}])

        with scripted(refusal) as (url, _), pytest.raises(Refused) as refused:
            api_at(url).write("POST", "projects", {})

        assert refused.value.message == "It is refused because."
        assert refused.value.details[0] == "name: too long"
        assert "name_invalid" in refused.value.details[-1]
        assert refused.value.then == "Ask otherwise."
        assert refused.value.exit_code == exits.FAILED

    @pytest.mark.parametrize(("status", "then"), [(401, "dcf login"), (403, "dcf whoami")])
    def test_says_what_to_type_about_a_key_that_does_not_do(self, api_at: ApiAt, status: int, then: str) -> None:
        with scripted(problem(status, "no")) as (url, _), pytest.raises(Refused) as refused:
            api_at(url).get("me")

        assert then in refused.value.then
        assert refused.value.exit_code == exits.NOT_ALLOWED

    def test_an_address_the_service_does_not_know_means_it_is_older(self, api_at: ApiAt) -> None:
        with scripted(problem(404, "route_unknown")) as (url, _), pytest.raises(Refused) as refused:
            api_at(url).get("keys")

        assert "does not know GET /api/v1/keys: it is older than this dcf" in refused.value.message
        assert "upgrade" in refused.value.then

    def test_so_does_a_method_it_does_not_take(self, api_at: ApiAt) -> None:
        with scripted(problem(405, "method_not_allowed")) as (url, _), pytest.raises(Refused, match="older than this"):
            api_at(url).write("DELETE", "keys/1")

    def test_where_functions_are_called_is_not_where_the_api_is(self, api_at: ApiAt) -> None:
        with scripted(problem(404, "function_not_here")) as (url, _), pytest.raises(Refused) as refused:
            api_at(url).get("me")

        assert "the API has an address of its own" in refused.value.message
        assert "dcf login --url" in refused.value.then

    def test_a_service_without_tls_is_to_be_asked_without(self, api_at: ApiAt) -> None:
        with scripted() as (url, _), pytest.raises(Unreachable) as refused:
            api_at(url.replace("http:", "https:")).get("me")

        assert refused.value.then == f"give its address as {url}"

    @pytest.mark.parametrize("status", [200, 404])
    def test_something_else_at_the_address(self, api_at: ApiAt, status: int) -> None:
        page = Answered(status, b"<html>welcome</html>", media_type="text/html")

        with scripted(page) as (url, _), pytest.raises(Refused) as refused:
            api_at(url).get("me")

        assert "dcf login --url" in refused.value.then

    def test_a_server_error_is_for_the_doctor(self, api_at: ApiAt) -> None:
        with scripted(problem(500, "unexpected")) as (url, _), pytest.raises(Trouble) as failed:
            api_at(url).get("me")

        assert failed.value.then == "dcf doctor"


class TestLists:
    def test_all_pages_are_read(self, api_at: ApiAt) -> None:
        first = Answered(200, {"items": [{"n": 1}], "nextCursor": "1:2"})
        last = Answered(200, {"items": [{"n": 2}], "nextCursor": None})

        with scripted(first, last) as (url, script):
            found = api_at(url).items("projects", status=None)

        assert found == [{"n": 1}, {"n": 2}]
        assert "cursor=1%3A2" in script.asked[1].query
        assert "status" not in script.asked[0].query

    def test_no_more_than_asked_for(self, api_at: ApiAt) -> None:
        with scripted(Answered(200, {"items": [{"n": 1}, {"n": 2}], "nextCursor": "1:2"})) as (url, script):
            found = api_at(url).items("projects", limit=3)

        assert len(found) == 3
        assert len(script.asked) == 2
