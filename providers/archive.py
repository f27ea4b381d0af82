"""The sources of a function as one archive, the same bytes for the same sources."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from typing import IO, Any

from domain.release import ArtifactKind
from providers.provider import ProviderRefused, Source
from providers.spool import digest_in, size_of

# Under these names the clouds' builders find the files, whatever they were called when they were uploaded.
FILE_NAMES: dict[ArtifactKind, str] = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}


# The earliest that a zip can say.
_NO_DATE = (1980, 1, 1, 0, 0, 0)
_GZIP_LEVEL, _GZIP_FORMAT = 9, 31


def archive(sources: tuple[Source, ...], into: IO[bytes]) -> None:
    """A tar.gz of the sources. Raises ProviderRefused for one that is not what its digest says, or two of one kind."""
    gzip: Any = _Gzip(into)
    with tarfile.open(fileobj=gzip, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for source in checked(sources):
            entry = tarfile.TarInfo(FILE_NAMES[source.kind])
            entry.size, entry.mode = size_of(source.content), 0o644
            source.content.seek(0)
            tar.addfile(entry, source.content)
    gzip.end()


def zipped(sources: tuple[Source, ...], into: IO[bytes]) -> None:
    """The same as a zip."""
    with zipfile.ZipFile(into, "w") as files:
        for source in checked(sources):
            entry = zipfile.ZipInfo(FILE_NAMES[source.kind], _NO_DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            entry.file_size = size_of(source.content)
            source.content.seek(0)
            with files.open(entry, "w") as file:
                shutil.copyfileobj(source.content, file)


def checked(sources: tuple[Source, ...]) -> list[Source]:
    """The sources in the order they are packed in. Raises ProviderRefused for one that is not what its digest says, or two of
    one kind."""
    for source in sources:
        if digest_in(source.content) != source.digest:
            raise ProviderRefused(
                "digest_differs", f"{source.file_name} is not what its digest says.", "Upload it again."
            )
    if len({source.kind for source in sources}) < len(sources):
        raise ProviderRefused("sources_duplicate", "Two sources are of one kind.", "Give one file of a kind.")
    return sorted(sources, key=lambda source: source.kind)


def source_of(sources: tuple[Source, ...], kind: ArtifactKind) -> str:
    """The text of the source of a kind; empty when there is none."""
    for source in sources:
        if source.kind == kind:
            source.content.seek(0)
            return source.content.read().decode(errors="replace")
    return ""


class _Gzip:
    """What is written goes there compressed, the same bytes for the same bytes: without a name and a time."""

    def __init__(self, into: IO[bytes]) -> None:
        self._into, self._compressor = into, zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)

    def write(self, content: bytes) -> None:
        self._into.write(self._compressor.compress(content))

    def end(self) -> None:
        self._into.write(self._compressor.flush())
