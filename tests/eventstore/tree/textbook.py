"""RFC 9162 as it is written, by somebody who has not seen our code: the tree of 2.1.1, and the checks of 2.1.3.2 and
2.1.4.2; and the notes of C2SP."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def tree_hash(entries: Sequence[bytes]) -> bytes:
    """MTH(D_n)."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return leaf(entries[0])
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return node(tree_hash(entries[:k]), tree_hash(entries[k:]))


def proves_inclusion(leaf_index: int, tree_size: int, leaf_hash: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """2.1.3.2."""
    if leaf_index >= tree_size:
        return False
    fn, sn, r = leaf_index, tree_size - 1, leaf_hash
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node(p, r)
            if not fn & 1:
                while not (fn & 1 or fn == 0):
                    fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def proves_consistency(first: int, first_hash: bytes, second: int, second_hash: bytes, path: Sequence[bytes]) -> bool:
    """2.1.4.2."""
    if first == second:
        return not path and first_hash == second_hash
    if not path:
        return False
    given = list(path)
    if first & (first - 1) == 0:
        given.insert(0, first_hash)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = given[0]
    for c in given[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            if not fn & 1:
                while not (fn & 1 or fn == 0):
                    fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_hash and sr == second_hash


def root_signed(note: str, verifier_key: str) -> tuple[str, int, bytes]:
    """The origin, size and root of a checkpoint (C2SP tlog-checkpoint) that the key has signed (C2SP signed-note)."""
    name, _, rest = verifier_key.partition("+")
    id, _, public = rest.partition("+")
    material = base64.b64decode(public)
    assert material[:1] == b"\x01"
    assert hashlib.sha256(name.encode() + b"\n" + material).digest()[:4].hex() == id
    text, _, signatures = note.rpartition("\n\n")
    [signature] = [
        base64.b64decode(line.split(" ")[2]) for line in signatures.splitlines() if line.startswith(f"\u2014 {name} ")
    ]
    assert signature[:4].hex() == id
    Ed25519PublicKey.from_public_bytes(material[1:]).verify(signature[4:], f"{text}\n".encode())
    origin, size, root = text.split("\n")
    return origin, int(size), base64.b64decode(root)


def entry(line: str) -> bytes:
    """The leaf of an exported event, by what docs/audit.md says of it."""
    event = json.loads(line)
    type = event["type"].encode()
    stored = [
        base64.b64decode(event[f"{part}Base64"]) if event.get(part) is None else event[part].encode()
        for part in ("meta", "data")
    ]
    at = datetime.fromisoformat(event["recordedAt"]) - datetime(1970, 1, 1, tzinfo=UTC)
    return b"".join(
        (
            b"DCFE\x01" + struct.pack(">Q", event["position"]),
            UUID(event["tenantId"]).bytes + UUID(event["streamId"]).bytes,
            struct.pack(">IH", event["version"], len(type)) + type,
            struct.pack(">Hq", event["schemaVersion"], at // timedelta(microseconds=1)),
            *(struct.pack(">I", len(content)) + content for content in stored),
        )
    )
