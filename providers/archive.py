"""The sources of a function as one archive, the same bytes for the same sources."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile

from domain.release import ArtifactKind
from providers.provider import ProviderRefused, Source

# Under these names the clouds' builders find the files, whatever they were called when they were uploaded.
FILE_NAMES: dict[ArtifactKind, str] = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}


# The earliest that a zip can say.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


def archive(sources: tuple[Source, ...]) -> bytes:
    """A tar.gz of the sources. Raises ProviderRefused for one that is not what its digest says, or two of one kind."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for source in checked(sources):
            entry = tarfile.TarInfo(FILE_NAMES[source.kind])
            entry.size, entry.mode = len(source.content), 0o644
            tar.addfile(entry, io.BytesIO(source.content))
    return gzip.compress(packed.getvalue(), mtime=0)


def zipped(sources: tuple[Source, ...]) -> bytes:
    """The same as a zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as files:
        for source in checked(sources):
            entry = zipfile.ZipInfo(FILE_NAMES[source.kind], _NO_DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            files.writestr(entry, source.content)
    return packed.getvalue()


def checked(sources: tuple[Source, ...]) -> list[Source]:
    """The sources in the order they are packed in. Raises ProviderRefused for one that is not what its digest says, or two of
    one kind."""
    for source in sources:
        if f"sha256:{hashlib.sha256(source.content).hexdigest()}" != source.digest:
            raise ProviderRefused(
                "digest_differs", f"{source.file_name} is not what its digest says.", "Upload it again."
            )
    if len({source.kind for source in sources}) < len(sources):
        raise ProviderRefused("sources_duplicate", "Two sources are of one kind.", "Give one file of a kind.")
    return sorted(sources, key=lambda source: source.kind)


def source_of(sources: tuple[Source, ...], kind: ArtifactKind) -> str:
    """The text of the source of a kind; empty when there is none."""
    found = [source.content for source in sources if source.kind == kind]
    return found[0].decode(errors="replace") if found else ""
