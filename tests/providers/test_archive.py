"""Bundles: the same bytes for the same sources, whatever their size, and never whole in memory."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from typing import IO

import pytest

from providers.archive import archive, zipped
from providers.provider import Source
from providers.spool import spool
from tests.providers.grounds import HELLO, sources
from tests.providers.keeping import MEBIBYTE, Watched

LARGE = bytes(range(251)) * (8 * MEBIBYTE // 251)


def _source(content: io.BytesIO) -> Source:
    return Source(
        kind="code", file_name="main.dart", digest=f"sha256:{sha256(content.getvalue()).hexdigest()}", content=content
    )


def test_a_tar_has_the_bytes_that_releases_from_before_gave_it() -> None:
    """Goal: a bundle that an earlier release staged is found again by the next one, and is not another."""
    tar = io.BytesIO()
    files = sorted(sources(HELLO), key=lambda source: source.kind)
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as whole:
        for source, name in zip(files, ("main.dart", "Dockerfile", "pubspec.yaml"), strict=True):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(source.content.read()), 0o644
            source.content.seek(0)
            whole.addfile(entry, source.content)

    archive(sources(HELLO), made := io.BytesIO())

    assert made.getvalue() == gzip.compress(tar.getvalue(), mtime=0)


def test_a_zip_has_the_bytes_that_releases_from_before_gave_it() -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as files:
        entry = zipfile.ZipInfo("main.dart", (1980, 1, 1, 0, 0, 0))
        entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        files.writestr(entry, LARGE)

    zipped((_source(io.BytesIO(LARGE)),), made := io.BytesIO())

    assert made.getvalue() == whole.getvalue()


@pytest.mark.parametrize("pack", [archive, zipped])
def test_of_a_large_source_a_piece_is_held_at_a_time(pack: Callable[[tuple[Source, ...], IO[bytes]], None]) -> None:
    content = Watched()
    content.write(LARGE)

    with spool() as packed:
        pack((_source(content),), packed)
        packed.seek(0)
        assert sha256(_unpacked(packed.read())).digest() == sha256(LARGE).digest()

    assert 0 < content.held_bytes_most <= 2 * MEBIBYTE


def _unpacked(packed: bytes) -> bytes:
    if zipfile.is_zipfile(io.BytesIO(packed)):
        return zipfile.ZipFile(io.BytesIO(packed)).read("main.dart")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = tar.extractfile("main.dart")
        assert found is not None
        return found.read()
