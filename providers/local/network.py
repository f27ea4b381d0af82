"""A function's own network, in which there is nothing but itself, and the agent's way into it."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from providers.local import opener, procfs
from providers.local.outbound import Outbound

APART_SECONDS_MAX = 10.0
OPENING_SECONDS_MAX = 10.0
SOCKET_SECONDS_MAX = 2.0
_APART_POLL_SECONDS = 0.005
_STOCK_MIN = opener.SOCKETS_MAX // 2


class NetworkShut(Exception):
    """The function's network could not be entered."""


class Network:
    """Sockets inside, a few in stock so that a request rarely waits for one; and the functions' way out, if they have one."""

    def __init__(self, process_id: int, tools: Mapping[str, str], outbound: Outbound | None) -> None:
        self._process_id = process_id
        self._tools = tools
        self._outbound = outbound
        self._stock: list[socket.socket] = []
        self._asked = False
        self._opener: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._way_out: asyncio.Server | None = None

    @classmethod
    async def of(cls, process_id: int, tools: Mapping[str, str], outbound: Outbound | None) -> Self | None:
        """The process's network, entered; None when it is the agent's own. Raises NetworkShut."""
        return await cls.entered(process_id, tools, outbound) if procfs.is_apart(process_id) else None

    @classmethod
    async def entered(cls, process_id: int, tools: Mapping[str, str], outbound: Outbound | None) -> Self:
        """As `of`, of a process that has just been started and is about to have a network of its own."""
        for _ in range(round(APART_SECONDS_MAX / _APART_POLL_SECONDS)):
            if procfs.is_apart(process_id):
                break
            await asyncio.sleep(_APART_POLL_SECONDS)
        else:
            raise NetworkShut("it has no network of its own")
        network = cls(process_id, tools, outbound)
        try:
            await network.enter()
        except BaseException:
            await network.close()
            raise
        return network

    @classmethod
    @asynccontextmanager
    async def around(cls, process_id: int, tools: Mapping[str, str], outbound: Outbound | None) -> AsyncIterator[Self]:
        """As `entered`, for as long as a block runs."""
        network = await cls.entered(process_id, tools, outbound)
        try:
            yield network
        finally:
            await network.close()

    @property
    def is_lost(self) -> bool:
        """Whether the way in broke off, and `enter` is to be called again."""
        return self._line is None

    async def enter(self) -> None:
        """Put a process of ours into the network, the loopback up and the way out open. Raises NetworkShut."""
        await self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._opener = self._open(theirs.fileno())
        self._line = ours
        ours.setblocking(False)
        try:
            async with asyncio.timeout(OPENING_SECONDS_MAX):
                while not (first := self._received()):
                    if self._line is None:
                        raise NetworkShut("nothing of ours can be put into it")
                    await _readable(ours)
        except TimeoutError:
            self._break_off()
            raise NetworkShut("nothing of ours can be put into it in time") from None
        with first[0] as proxy:
            if self._outbound:
                proxy.setblocking(False)
                self._way_out = await self._outbound.serve(proxy.dup())
        asyncio.get_running_loop().add_reader(ours, self._take)
        self._ask()

    def _open(self, line: int) -> subprocess.Popen[bytes]:
        # Where an ordinary user made it, its users are of a namespace too, which its maker may enter.
        user = ("--user", "--preserve-credentials") if procfs.has_user_apart(self._process_id) else ()
        python = (os.path.realpath(sys.executable), "-I", "-S", str(Path(opener.__file__)), str(line))
        return subprocess.Popen(
            (self._tools["nsenter"], f"--target={self._process_id}", "--net", *user, *python),
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(line,),
            start_new_session=True,
        )

    def open_socket(self, _: object = None) -> socket.socket:
        """A socket inside, not connected yet. Raises OSError when the way in broke off."""
        if not self._stock:
            self._ask()
            if self._line is not None:
                # Many at once: the next ones are under way, and take as long as a process takes to wake up.
                select.select([self._line], [], [], SOCKET_SECONDS_MAX)
                self._take()
        if not self._stock:
            raise OSError("the function's network is not to be reached")
        found = self._stock.pop()
        if len(self._stock) < _STOCK_MIN:
            self._ask()
        return found

    async def close(self) -> None:
        """Give the way in up."""
        if self._way_out:
            self._way_out.close()
            self._way_out = None
        self._break_off()
        while self._stock:
            self._stock.pop().close()
        if self._opener:
            self._opener.kill()
            await asyncio.to_thread(self._opener.wait)
            self._opener = None

    def _ask(self) -> None:
        if self._line is not None and not self._asked:
            try:
                self._line.send(bytes([opener.SOCKETS_MAX]))
                self._asked = True
            except OSError:
                self._break_off()

    def _take(self) -> None:
        if found := self._received():
            self._asked = False
            self._stock += found

    def _received(self) -> list[socket.socket]:
        """What was handed over by now."""
        if self._line is None:
            return []
        try:
            content, descriptors, _, _ = socket.recv_fds(self._line, 1, opener.SOCKETS_MAX)
        except BlockingIOError:
            return []
        except OSError:
            content, descriptors = b"", []
        if not content:
            self._break_off()
        return [socket.socket(fileno=one) for one in descriptors]

    def _break_off(self) -> None:
        if self._line is not None:
            asyncio.get_running_loop().remove_reader(self._line)
            self._line.close()
            self._line = None
        self._asked = False


async def _readable(line: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(line, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(line)
