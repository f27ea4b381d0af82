"""What the doctor sees of the service as a caller: its address, its clock, the key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from cli.account import NotSignedIn
from cli.doctor_database import skew
from cli.finding import Finding
from cli.session import Session
from cli.trouble import Trouble

LOOK_SECONDS_MAX = 5.0


def account_findings(session: Session) -> Iterator[Finding]:
    """Whether the service takes the key, and whether its clock is ours."""
    try:
        account = session.account
        me = session.api.get("me")
    except NotSignedIn as trouble:
        yield Finding("account", "warn", trouble.message, trouble.then)
        return
    except Trouble as trouble:
        yield Finding("account", "fail", trouble.message, trouble.then)
        return
    tenant = (me.get("tenant") or {}).get("name", "no tenant")
    yield Finding("account", "ok", f"{account.url} takes the key: {me.get('role')} of {tenant}")
    if not account.is_local:
        yield from _clock(account.url)


def _clock(url: str) -> Iterator[Finding]:
    before = datetime.now(UTC)
    try:
        answer = httpx.get(f"{url}/health/live", timeout=LOOK_SECONDS_MAX)
        at = parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, KeyError, ValueError):
        return
    yield skew(before, at, datetime.now(UTC), "the service's")
