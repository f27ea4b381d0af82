"""The service over HTTP: its key, an Idempotency-Key on every write, repeats that are safe, refusals made readable."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import PurePath
from typing import Any
from uuid import uuid4

import httpx

from cli import exits
from cli.account import Account
from cli.trouble import Trouble
from process.release import release
from process.trust import trusted_at

ATTEMPTS_MAX = 4
BACKOFF_SECONDS = 0.25
# A service that asks for more patience than this is reported, not waited for.
RETRY_AFTER_SECONDS_MAX = 10.0
CONNECT_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 60.0
PAGE_ITEMS = 200
ITEMS_MAX = 10_000

_STREAM = "text/event-stream"
# What OpenSSL says of a server that answers without TLS.
_PLAIN = "WRONG_VERSION_NUMBER"

Json = dict[str, Any]


class Unreachable(Trouble):
    """The service gave no answer, or said that it cannot at the moment."""

    def __init__(self, message: str, *, then: str) -> None:
        super().__init__(message, then=then, exit_code=exits.UNREACHABLE)


class Refused(Trouble):
    """The service answered with a problem. `code` is the contract's word for it, empty if it gave none."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        then: str = "",
        details: tuple[str, ...] = (),
        exit_code: int = exits.FAILED,
    ) -> None:
        super().__init__(message, then=then, details=details, exit_code=exit_code)
        self.status, self.code = status, code


class NotStreamed(Trouble):
    """The service, or something on the way to it, gives no stream; what there is can still be asked for."""


class Api:
    """One caller of one service. Paths are those behind /api/v1; everything raises Unreachable or Refused."""

    def __init__(
        self,
        account: Account,
        *,
        pause: Callable[[float], None] = time.sleep,
        attempts_max: int = ATTEMPTS_MAX,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        self.url = account.url
        self._pause, self._attempts_max = pause, attempts_max
        headers = {"User-Agent": f"dcf/{release()}"}
        if key := account.key.reveal():
            headers["Authorization"] = f"Bearer {key}"
        if account.tenant:
            headers["Dcf-Tenant"] = account.tenant
        self._http = httpx.Client(
            base_url=f"{account.url}/api/v1/",
            headers=headers,
            timeout=httpx.Timeout(answer_seconds_max, connect=min(answer_seconds_max, CONNECT_SECONDS_MAX)),
            # A proxy of the environment is for the world outside.
            trust_env=not account.is_local,
            verify=trusted_at(account.url),
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, *, not_before: str | None = None, **parameters: object) -> Any:
        """The JSON of an address, at least as new as a position. Parameters that are None are left out."""
        headers = {"If-Position": not_before} if not_before else {}
        return self._json(self._answered("GET", path, parameters=parameters, headers=headers))

    def entity(self, path: str) -> tuple[Json, str]:
        """One thing, and its ETag for `if_match`."""
        answer = self._answered("GET", path)
        return self._json(answer), answer.headers.get("etag", "")

    def items(self, path: str, *, limit: int = ITEMS_MAX, **parameters: object) -> list[Json]:
        """A list over all its pages, up to `limit` items."""
        return list(islice(self.each(path, page_items=min(limit, PAGE_ITEMS), **parameters), limit))

    def each(self, path: str, *, page_items: int = PAGE_ITEMS, **parameters: object) -> Iterator[Json]:
        """The items of a list, page by page as they are taken."""
        cursor: str | None = None
        while True:
            page = self._json(
                self._answered("GET", path, parameters={"limit": page_items, "cursor": cursor, **parameters})
            )
            yield from page["items"]
            cursor = page.get("nextCursor")
            if cursor is None:
                return

    def write(self, method: str, path: str, body: object = None, *, if_match: str = "") -> Any:
        """Send a change, under a key that makes repeating it safe. None when the answer has no body."""
        headers = {"If-Match": if_match} if if_match else {}
        sent = {} if body is None and method != "DELETE" else body
        return self._json(self._answered(method, path, body=sent, headers=headers))

    def upload(self, kind: str, project_id: str, name: str, content: bytes, *, provider: str | None = None) -> Json:
        """Stage a file; `kind` is code, docker or yaml."""
        answer = self._answered(
            "POST",
            f"functions/upload/{kind}",
            form={"projectId": project_id, **({"provider": provider} if provider else {})},
            files={"file": (PurePath(name).name, content, "application/octet-stream")},
        )
        uploaded: Json = self._json(answer)
        return uploaded

    def begin_upload(
        self, project_id: str, *, key: str, parameters: Mapping[str, object], headers: Mapping[str, str]
    ) -> Json:
        """Begin an upload that can be resumed, or come back to the one that was begun under this key."""
        sent = {"Upload-Complete": "?0", "Idempotency-Key": key, **headers}
        path = f"projects/{project_id}/uploads"
        state: Json = self._json(self._answered("POST", path, parameters=parameters, headers=sent))
        return state

    def append_to_upload(self, path: str, offset: int, piece: bytes, *, is_last: bool) -> Json:
        """Add a piece; the answer says how far it is now, that to the last piece is the artifact."""
        sent = {
            "Upload-Offset": str(offset),
            "Upload-Complete": "?1" if is_last else "?0",
            "Content-Type": "application/partial-upload",
        }
        answered: Json = self._json(self._answered("PATCH", path, content=piece, headers=sent))
        return answered

    def content(self, path: str, **parameters: object) -> bytes:
        """The bytes at an address. Parameters that are None are left out."""
        return self._answered("GET", path, parameters=parameters).content

    @contextmanager
    def streamed(self, path: str, *, last_seen: str | None, silence_seconds: float) -> Iterator[httpx.Response]:
        """The open answer of an address that goes on telling what is new. Raises NotStreamed, and what httpx raises."""
        headers = {"Accept": _STREAM, "Accept-Encoding": "identity"}
        if last_seen:
            headers["Last-Event-ID"] = last_seen
        timeout = httpx.Timeout(silence_seconds, connect=CONNECT_SECONDS_MAX)
        with self._http.stream("GET", path.lstrip("/"), headers=headers, timeout=timeout) as answer:
            if not answer.is_success or not answer.headers.get("content-type", "").startswith(_STREAM):
                raise NotStreamed(f"{answer.request.url.path} is not streamed.")
            yield answer

    @contextmanager
    def downloaded(self, path: str, **parameters: object) -> Iterator[httpx.Response]:
        """The open answer of an address whose body is too large to be kept. Raises Unreachable, Refused; also while it is read."""
        given = {name: str(value) for name, value in parameters.items() if value is not None}
        headers = {"Accept-Encoding": "identity"}
        try:
            with self._http.stream("GET", path.lstrip("/"), params=given, headers=headers) as answer:
                if not answer.is_success:
                    answer.read()
                    raise self._refusal(answer.request, answer)
                yield answer
        except httpx.TransportError as problem:
            raise self._silence(problem) from problem

    def hang_up(self, answer: httpx.Response) -> None:
        """End a streamed answer, also for a thread that waits for more of it."""
        with suppress(OSError, KeyError, AttributeError):
            answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _answered(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, object] | None = None,
        body: object = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        key = str(uuid4())
        sent = dict(headers or {})
        if method != "GET":
            sent.setdefault("Idempotency-Key", key)
        if files:
            # The edge between the parts is ours, so that a repeated upload is the same to the byte.
            sent["Content-Type"] = f"multipart/form-data; boundary={key}"
        request = self._http.build_request(
            method,
            path.lstrip("/"),
            params={name: str(value) for name, value in (parameters or {}).items() if value is not None},
            content=content,
            json=body,
            data=form,
            files=files,
            headers=sent,
        )
        answer = self._sent(request)
        if answer.is_success:
            return answer
        raise self._refusal(request, answer)

    def _sent(self, request: httpx.Request) -> httpx.Response:
        """Send it, again if need be: reading changes nothing, and a write carries its Idempotency-Key."""
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._http.send(request)
            except httpx.TransportError as problem:
                if attempt == self._attempts_max:
                    raise self._silence(problem) from problem
                self._pause(_backoff(attempt))
                continue
            wait = _retry_after(answer, attempt)
            if wait is None or attempt == self._attempts_max:
                return answer
            self._pause(wait)

    def _json(self, answer: httpx.Response) -> Any:
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as problem:
            raise Refused(
                f"{self.url} does not answer as a Dart Cloud Functions service does.",
                status=answer.status_code,
                then="check the address: dcf login --url URL",
            ) from problem

    def _silence(self, problem: httpx.TransportError) -> Unreachable:
        why = str(problem) or type(problem).__name__
        if _PLAIN in why:
            return Unreachable(
                f"The service at {self.url} speaks no TLS.",
                then=f"give its address as http://{self.url[len('https://') :]}",
            )
        return Unreachable(
            f"The service at {self.url} does not answer: {why}.",
            then="start it with `dcf serve`, or let `dcf doctor` look for the cause",
        )

    def _refusal(self, request: httpx.Request, answer: httpx.Response) -> Trouble:
        problem = _problem(answer)
        address = f"{request.method} {request.url.path}"
        if answer.status_code == 405 or problem.get("code") == "route_unknown":
            return Refused(
                f"The service at {self.url} does not know {address}: it is older than this dcf.",
                status=answer.status_code,
                code="route_unknown",
                then="upgrade the service, or use the dcf of its release",
            )
        if problem.get("code") == "function_not_here":
            return Refused(
                f"At {self.url} functions are called; the API has an address of its own.",
                status=answer.status_code,
                code="function_not_here",
                then="give the address that `dcf serve` names once it is ready: dcf login --url URL",
            )
        if answer.status_code >= 500 or not problem:
            return self._failure(address, answer, problem)
        exit_code = exits.NOT_ALLOWED if answer.status_code in (401, 403) else exits.FAILED
        return Refused(
            str(problem.get("detail") or problem.get("title") or f"{address} was refused ({answer.status_code})"),
            status=answer.status_code,
            code=str(problem.get("code", "")),
            then=self._next(answer, problem),
            details=_details(problem),
            exit_code=exit_code,
        )

    def _failure(self, address: str, answer: httpx.Response, problem: Json) -> Trouble:
        said = str(problem.get("detail") or problem.get("title") or answer.reason_phrase)
        if answer.status_code in (502, 503, 504):
            then = str(problem.get("remedy") or "") or "type the command again in a moment"
            return Unreachable(f"{self.url}: {said}", then=then)
        message = f"{address} answered {answer.status_code}: {said}"
        then = "dcf doctor" if answer.status_code >= 500 else "check the address: dcf login --url URL"
        return Refused(message, status=answer.status_code, then=then, details=_details(problem))

    def _next(self, answer: httpx.Response, problem: Json) -> str:
        match answer.status_code:
            case 401:
                return f"{problem.get('remedy', '')} Then: dcf login --url {self.url}".strip()
            case 403:
                return f"{problem.get('remedy') or 'ask an owner'} (`dcf whoami` shows what this one may do)"
            case 412:
                return "somebody changed it meanwhile: look again, then repeat the command"
            case 429:
                wait = answer.headers.get("retry-after")
                return f"type the command again {f'in {wait} s' if wait else 'in a moment'}"
            case _:
                return str(problem.get("remedy") or "")


def _problem(answer: httpx.Response) -> Json:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "code" in found else {}


def _details(problem: Json) -> tuple[str, ...]:
    fields = [
        f"{error.get('field')}: {error.get('message')}"
        for error in problem.get("errors") or []
        if isinstance(error, dict)
    ]
    known = {"code": problem.get("code"), "correlation id": problem.get("correlationId")}
    named = ", ".join(f"{name} {value}" for name, value in known.items() if value)
    return (*fields, *([f"({named})"] if named else []))


def _backoff(attempt: int) -> float:
    return BACKOFF_SECONDS * float(2 ** (attempt - 1)) * random.uniform(0.75, 1.25)  # noqa: S311 - only spreads callers


def _retry_after(answer: httpx.Response, attempt: int) -> float | None:
    """How long to wait before asking again; None: do not."""
    # A full queue is a refusal, and the same key would get it again; too many requests are only too early.
    early = answer.status_code == 429 and _problem(answer).get("code") == "too_many_requests"
    if answer.status_code != 503 and not early:
        return None
    try:
        wait = float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        return _backoff(attempt)
    return wait if wait <= RETRY_AFTER_SECONDS_MAX else None
