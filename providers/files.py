"""Uploaded files in a project's storage: found by the address of their content, and checked whenever they are read."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import IO
from uuid import UUID

from providers.provider import KeepsFiles, Place, ProviderBusy, ProviderRefused
from providers.spool import digest_in, size_of, spool

# What nothing names is taken away once it is older than that by half: whoever finds it meanwhile may name it, and whoever
# finds it later puts the same bytes under another name. So nothing is taken away that is about to be named.
FRESH = timedelta(hours=12)


class FileLost(ProviderRefused):
    """The file is not there any more, or is not what was uploaded."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__("artifact_lost", f"The stored file {name} {what}.", "Upload it again and deploy.")


def folder(tenant_id: UUID, project_id: UUID) -> str:
    """Whatever is uploaded to the project lies below this."""
    return f"dcf/files/{tenant_id}/{project_id}/"


async def keep(
    keeper: KeepsFiles, place: Place, digest: str, content: IO[bytes], *, known_as: str, now: datetime
) -> str:
    """The name under which the bytes are kept, once they are. Doing it twice is doing it once.

    `known_as` is the name under which they were kept before, if they were. Whatever has the name and is something
    else stays, and the bytes get another name.
    """
    own = known_as or folder(place.tenant_id, place.project_id) + digest.removeprefix("sha256:")
    for name in (own, f"{own}-{int(now.timestamp())}"):
        if await keeper.put_file(place, name, content):
            return name
        with spool() as found:
            since = await keeper.read_file(place, name, found, bytes_max=size_of(content))
            is_same = since is not None and digest_in(found) == digest
        if since is not None and is_same and (name == known_as or now - since < FRESH):
            return name
    raise ProviderBusy("The same file is being uploaded by somebody else.")


async def fetch(keeper: KeepsFiles, place: Place, name: str, digest: str, into: IO[bytes], *, size_bytes: int) -> None:
    """Write the bytes down, and stand at their beginning. Raises FileLost when they are not what was put there: nothing is
    done with any of them before all of them are here."""
    if await keeper.read_file(place, name, into, bytes_max=size_bytes) is None:
        raise FileLost(name, "is gone")
    if digest_in(into) != digest:
        raise FileLost(name, "is not what was uploaded")
    into.seek(0)


def digest_of(content: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
