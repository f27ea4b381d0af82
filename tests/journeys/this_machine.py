"""This machine as a cloud like the others, for the journey that all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from domain.clouds import ProviderName
from tests.emulators.cloud import Break
from tests.support.service import HELLO

# Takes the compiler some seconds.
FUNCTIONS = 20_000


class ThisMachine:
    """There is nothing to set up, and nothing that a customer could get wrong."""

    name: ProviderName = "local"
    settings: Mapping[str, str] = {}
    stands_in_for = "nothing"
    connect = "local/connect"
    verify = "local/verify"
    diagnose = ""
    diagnosed: Mapping[str, Any] = {}
    bucket = "local/bucket"
    identity: Mapping[str, Any] = {}
    storage: Mapping[str, Any] = {}

    def target(self, name: str) -> dict[str, Any]:
        return {}

    def prepare(self, issuer: str, subject: str) -> None:
        """It trusts itself."""

    def breaks(self) -> tuple[Break, ...]:
        return ()

    @contextmanager
    def slowly(self) -> Iterator[bytes]:
        lines = [f"int f{number}(int x) => x * {number} + [x, {number}].length;" for number in range(FUNCTIONS)]
        yield (HELLO / "main.dart").read_bytes() + "\n".join(lines).encode()

    def builds_running(self) -> int:
        return 0

    def remains(self) -> list[str]:
        return []

    def close(self) -> None:
        """It stays."""
