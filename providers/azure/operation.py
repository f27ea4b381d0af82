"""Operations that Azure goes on with after it has answered: looked at, when it says so, and never waited out."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal
from uuid import UUID

import msgspec

from providers.azure.account import Account
from providers.azure.errors import Answered, ArmError, of_arm, seconds
from providers.azure.wire import Reply

# A verb looks again only for what ends at once; the runner looks at the rest.
LOOKS_SECONDS_MAX = 8.0
LOOK_SECONDS = 0.5
KEPT_MAX = 2000

Outcome = Literal["running", "succeeded"]


class _Status(msgspec.Struct):
    status: str = ""
    error: ArmError | None = None


class _Begun(msgspec.Struct):
    url: str
    # On `clock`'s scale: Azure asks not to be asked before.
    look_at: float


class Operations:
    """The operations that were begun for deployments, as far as this process knows them; the resources tell the rest.

    Where to look on is to be noted elsewhere too by who wants to be told after this process has died what Azure said.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: OrderedDict[UUID, _Begun] = OrderedDict()

    def begin(self, deployment_id: UUID, reply: Reply) -> str:
        """Remember where the answer says to look on: its address, empty when there is nothing to wait for."""
        url = reply.headers.get("azure-asyncoperation") or reply.headers.get("location", "")
        self._begun.pop(deployment_id, None)
        if url:
            self._begun[deployment_id] = _Begun(url, self._clock() + _pause(reply))
            while len(self._begun) > KEPT_MAX:
                self._begun.popitem(last=False)
        return url

    def resume(self, deployment_id: UUID, url: str) -> None:
        """Remember what another process has begun, unless a later one is known."""
        if url:
            self._begun.setdefault(deployment_id, _Begun(url, self._clock()))

    def knows(self, deployment_id: UUID) -> bool:
        return deployment_id in self._begun

    async def look(self, account: Account, deployment_id: UUID) -> Outcome:
        """How far the deployment's newest operation is; one that is not known any more counts as over.

        Raises Answered with Azure's own words when it has failed.
        """
        begun = self._begun.get(deployment_id)
        if begun is None:
            return "succeeded"
        if self._clock() < begun.look_at:
            return "running"
        reply = await self._asked(account, begun)
        if reply is None:
            self._begun.pop(deployment_id, None)
            return "succeeded"
        begun.look_at = self._clock() + _pause(reply)
        if reply.status == 202:
            return "running"
        said = reply.read(_Status)
        match said.status.lower():
            case "failed" | "canceled":
                self._begun.pop(deployment_id, None)
                raise of_arm(said.error or ArmError(message=f"The operation ended as {said.status}."), 400)
            case "" | "succeeded":
                self._begun.pop(deployment_id, None)
                return "succeeded"
            case _:
                return "running"

    async def settle(self, account: Account, deployment_id: UUID) -> Outcome:
        """Look until it is over, for LOOKS_SECONDS_MAX at most."""
        ends = self._clock() + LOOKS_SECONDS_MAX
        while await self.look(account, deployment_id) == "running":
            begun = self._begun.get(deployment_id)
            pause = LOOK_SECONDS if begun is None else max(begun.look_at - self._clock(), 0.0)
            if self._clock() + pause > ends:
                return "running"
            await asyncio.sleep(pause)
        return "succeeded"

    async def _asked(self, account: Account, begun: _Begun) -> Reply | None:
        """What the operation's address answers; None when it is forgotten there."""
        try:
            return await account.go_on("GET", begun.url)
        except Answered as error:
            if error.http_status == 404:
                return None
            raise


def _pause(reply: Reply) -> float:
    given = seconds(reply.headers.get("retry-after", ""))
    return LOOK_SECONDS if given is None else given
