"""Signed notes and checkpoints, byte for byte as C2SP signed-note and tlog-checkpoint have them, with Ed25519."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from eventstore.tree.merkle import HASH_BYTES

NOTE_BYTES_MAX = 100_000
_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_SIGNATURE = re.compile(r"— (?P<name>\S+) (?P<signature>\S+)")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteInvalid(Exception):
    """The note, or the key, is none, or no key that is known has signed it. The message says which."""


class VerifierKey(msgspec.Struct, frozen=True):
    """The public half of a key. Its text is `name+hash+base64`."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(_ED25519 + self.public)}"

    @classmethod
    def of(cls, name: str, private: Ed25519PrivateKey) -> Self:
        return cls(name, private.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises NoteInvalid."""
        # Base64 has plus signs too.
        name, _, rest = text.strip().partition("+")
        id, _, encoded = rest.partition("+")
        content = _bytes(encoded)
        if not name or content[:1] != _ED25519 or len(content) != 1 + HASH_BYTES:
            raise NoteInvalid(f"{text.strip()[:80]!r} is no verifier key of Ed25519: it ought to be name+hash+base64")
        key = cls(name, content[1:])
        if key.id.hex() != id:
            raise NoteInvalid(
                f"the verifier key of {name[:80]} has the hash {id[:16]}, and ought to have {key.id.hex()}"
            )
        return key


class Checkpoint(msgspec.Struct, frozen=True):
    """How many leaves the tree of a log has, and their root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises NoteInvalid. Further lines, which others may add, mean nothing here."""
        origin, size, root, *_ = *text.split("\n"), "", "", ""
        content = _bytes(root)
        if not origin or not _SIZE.fullmatch(size) or len(content) != HASH_BYTES:
            raise NoteInvalid("this is no checkpoint: it ought to begin with the lines origin, size and root")
        return cls(origin, int(size), content)


def sign(text: str, name: str, keys: Iterable[Ed25519PrivateKey]) -> str:
    """The note of the text, which ends with a line feed, signed with each key under the name."""
    lines = [f"— {name} {_base64(VerifierKey.of(name, key).id + key.sign(text.encode()))}\n" for key in keys]
    return "\n".join((text, "".join(lines)))


def opened(note: str, keys: Sequence[VerifierKey]) -> str:
    """The text of a note that one of the keys has signed. Raises NoteInvalid, also when one of them has not signed it well."""
    text, signatures = _parts(note)
    by_id = {(key.name, key.id): key for key in keys}
    verified = False
    for name, signature in signatures:
        key = by_id.get((name, signature[:_KEY_ID_BYTES]))
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature[_KEY_ID_BYTES:], text.encode())
        except InvalidSignature as error:
            raise NoteInvalid(f"the signature of {name} is not good: the note was changed") from error
        verified = True
    if not verified:
        raise NoteInvalid(
            f"it is signed by {', '.join(sorted({name for name, _ in signatures}))}, and by no key that was given"
        )
    return text


def _parts(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    text, separator, signed = note.rpartition("\n\n")
    lines = [_SIGNATURE.fullmatch(line) for line in signed.removesuffix("\n").split("\n")]
    found = [(line["name"], _bytes(line["signature"])) for line in lines if line is not None]
    if (
        not separator
        or not signed.endswith("\n")
        or len(found) != len(lines)
        or any(len(signature) <= _KEY_ID_BYTES for _, signature in found)
        or any(character < " " and character != "\n" for character in note)
        or len(note) > NOTE_BYTES_MAX
    ):
        raise NoteInvalid("this is no signed note: it ought to be a text, an empty line, and lines of signatures")
    return text + "\n", found


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    """Nothing for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
