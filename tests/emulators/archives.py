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
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise ValueError(f"not an archive: {error}") from error
