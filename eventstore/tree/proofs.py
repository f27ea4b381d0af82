"""The proof that an event is in the log, as a file that can be checked without the service: C2SP tlog-proof.

Its extra data are the event's canonical bytes (eventstore/canonical.py), which the leaf is the hash of.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Self

import msgspec

from eventstore.tree.merkle import ProofInvalid, leaf_hash, root_by_inclusion
from eventstore.tree.notes import Checkpoint, NoteInvalid, VerifierKey, opened

_FIRST_LINE = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


class EventProof(msgspec.Struct, frozen=True, kw_only=True):
    """`event` is empty where the proof comes without it; `path` begins with the leaf's sibling."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    event: bytes = b""

    @property
    def text(self) -> str:
        extra = f"extra {_base64(self.event)}\n" if self.event else ""
        path = "".join(f"{_base64(one)}\n" for one in self.path)
        return f"{_FIRST_LINE}\n{extra}index {self.index}\n{path}\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ProofInvalid."""
        head, separator, checkpoint = text.partition("\n\n")
        first, *lines = head.split("\n")
        if first != _FIRST_LINE or not separator:
            raise ProofInvalid(f"it does not begin with the line {_FIRST_LINE}")
        event = _bytes(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else b""
        index = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if index is None:
            raise ProofInvalid("it does not say which leaf it is about")
        return cls(index=int(index[1]), path=tuple(map(_bytes, lines)), checkpoint=checkpoint, event=event)

    def check(self, event: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
        """The checkpoint under which the event's canonical bytes are proven to be in the log. Raises ProofInvalid."""
        try:
            checkpoint = Checkpoint.parse(opened(self.checkpoint, keys))
        except NoteInvalid as error:
            raise ProofInvalid(f"of its checkpoint: {error}") from error
        if root_by_inclusion(self.index, checkpoint.size, leaf_hash(event), self.path) != checkpoint.root:
            raise ProofInvalid("it does not lead from the event to the root that was signed: the event is another one")
        return checkpoint


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProofInvalid(f"{text[:80]!r} is no base64") from error
