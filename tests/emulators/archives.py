"""Archives of sources as the clouds take them: a `.zip` or a tar, compressed or not."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path


def unpack(content: bytes, folder: Path) -> None:
    """Put what the archive holds into the folder. Raises ValueError for what is no archive."""
    packed = io.BytesIO(content)
    if zipfile.is_zipfile(packed):
        with zipfile.ZipFile(packed) as archive:
            archive.extractall(folder)  # noqa: S202 - it keeps to the folder by itself
        return
    packed.seek(0)
    try:
        with tarfile.open(fileobj=packed) as tar:
            for member in tar:
                _put(tar, member, folder)
    except tarfile.TarError as error:
        raise ValueError(f"not an archive: {error}") from error


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """One plain file; tarfile's own filters came only with Python 3.11.4."""
    place = (folder / member.name).resolve()
    if not member.isfile() or not place.is_relative_to(folder.resolve()):
        raise ValueError(f"not a plain file of the archive: {member.name}")
    content = tar.extractfile(member)
    assert content is not None, "a plain file has a content"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.read())
