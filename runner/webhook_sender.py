"""Sends one message to a webhook, signed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from domain.webhook_signature import key_of, signed_headers
from process.outbound import NotPublic, Reachable, Resolver
from process.secret import Secret

ANSWER_SECONDS_MAX = 15.0
CONNECTIONS_MAX = 100
USER_AGENT = "dcf-webhooks/1"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent. `id` is the same each time it is tried, so that who receives it twice can tell."""

    id: str
    body: bytes


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; no status: nothing did, and `message` says why. `retry_after_seconds` is what it asked for."""

    status: int | None = None
    message: str = ""
    retry_after_seconds: float = 0.0


class Sender(Protocol):
    """Sends messages."""

    async def send(self, url: str, message: Message, secrets: Sequence[Secret], *, at: datetime) -> Answered:
        """Send it once. Whatever becomes of that is an answer, and no error."""
        ...


class HttpSender:
    """Sends over HTTP, where it may. Redirects are not followed and answers not read: nobody learns by them what is there."""

    def __init__(self, reachable: Reachable) -> None:
        self._reachable = reachable

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=Resolver(self._reachable), use_dns_cache=False, limit=CONNECTIONS_MAX, keepalive_timeout=5
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, url: str, message: Message, secrets: Sequence[Secret], *, at: datetime) -> Answered:
        if self._reachable.literal(urlsplit(url).hostname or "") is False:
            return Answered(message="The address is not public.")
        headers = {
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            **signed_headers(message.id, message.body, [key_of(one.reveal()) for one in secrets], at=at),
        }
        try:
            async with self._session.post(url, data=message.body, headers=headers, allow_redirects=False) as answer:
                wait = _seconds(answer.headers.get("retry-after"), at)
                return Answered(status=answer.status, message=_said(answer.status), retry_after_seconds=wait)
        except TimeoutError:
            return Answered(message=f"No answer within {ANSWER_SECONDS_MAX:.0f} seconds.")
        except NotPublic:
            return Answered(message="The host has no public address.")
        except aiohttp.ClientConnectorDNSError as error:
            public = isinstance(error.os_error, NotPublic)
            return Answered(message="The host has no public address." if public else "The host's name is not known.")
        except aiohttp.ClientConnectorCertificateError:
            return Answered(message="Its certificate is not valid.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answered(message=f"It could not be reached: {type(error).__name__}.")


def _said(status: int) -> str:
    return f"It answered {status}."


def _seconds(text: str | None, now: datetime) -> float:
    """What Retry-After asks, of seconds or of a date; 0 for what is neither."""
    if text is None:
        return 0.0
    try:
        if text.strip().isdigit():
            return float(text)
        return max((parsedate_to_datetime(text) - now).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return 0.0
