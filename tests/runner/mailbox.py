"""Where the webhooks of a town are sent: addresses that answer as they are told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.webhook_signature import key_of, signed_headers
from process.secret import Secret
from runner.webhook_sender import Answered, Message

GOOD = Answered(status=200)


class Got(msgspec.Struct, frozen=True):
    """One message as it came in."""

    id: str
    at: datetime
    body: dict[str, Any]
    signatures: int

    @property
    def type(self) -> str:
        return str(self.body["type"])


class Mailbox:
    """A Sender. `answers` is what an address answers; one that is not named takes everything."""

    def __init__(self) -> None:
        self.answers: dict[str, Answered] = {}
        self.got: defaultdict[str, list[Got]] = defaultdict(list)
        self.tried: defaultdict[str, list[datetime]] = defaultdict(list)

    async def send(self, url: str, message: Message, secrets: Sequence[Secret], *, at: datetime) -> Answered:
        headers = signed_headers(message.id, message.body, [key_of(one.reveal()) for one in secrets], at=at)
        self.tried[url].append(at)
        answer = self.answers.get(url, GOOD)
        if answer.status == GOOD.status:
            count = len(headers["webhook-signature"].split())
            self.got[url].append(Got(message.id, at, msgspec.json.decode(message.body), count))
        return answer
