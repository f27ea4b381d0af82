"""One tenant's export fetched over HTTP into a folder, and taken up again where it was cut off."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from uuid import UUID

import msgspec

from audit.export_folder import ExportFolder, Progress
from audit.export_format import MANIFEST, PART_BYTES_MAX, PLAN, Damaged, Manifest, Plan, described
from cli import exits
from cli.client import Api
from cli.trouble import Trouble

_MANIFEST_BYTES_MAX = 256_000_000


def download_export(api: Api, folder: ExportFolder, tenant: UUID | None, tell: Callable[[int, int], None]) -> Manifest:
    """Fetch what is left of the export; `tell` hears how far it has come, of what. Raises Trouble, Damaged, FolderInUse."""
    begun = folder.begun()
    span = {} if begun is None else {"from": _token(begun, begun.reached), "to": _token(begun, begun.plan.up_to)}
    fetching = _Fetching(folder, begun, tell)
    with api.downloaded("audit/export", tenantId=tenant, **span) as answer:
        try:
            with tarfile.open(fileobj=_Bytes(answer.iter_bytes()), mode="r|") as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    if file is not None:
                        limit = _MANIFEST_BYTES_MAX if member.name == MANIFEST else PART_BYTES_MAX
                        fetching.take(member.name, file.read(limit))
        except tarfile.TarError as error:
            raise _cut_off() from error
    return fetching.finish()


class _Fetching:
    def __init__(self, folder: ExportFolder, progress: Progress | None, tell: Callable[[int, int], None]) -> None:
        self._folder, self._progress, self._tell = folder, progress, tell
        self._manifest: Manifest | None = None

    def take(self, name: str, content: bytes) -> None:
        """The next member of the tar."""
        if name == PLAN:
            self._take_plan(msgspec.json.decode(content, type=Plan))
        elif name == MANIFEST:
            self._manifest = msgspec.json.decode(content, type=Manifest)
        elif self._progress is None:
            raise Damaged("the service sent parts without saying what they are of")
        else:
            part = described(name, content)
            self._progress = self._folder.add(self._progress, part, content)
            self._tell(self._progress.reached, self._progress.plan.up_to)

    def finish(self) -> Manifest:
        """Write the manifest over all parts, once the service has vouched for those that it sent."""
        if self._manifest is None or self._progress is None:
            raise _cut_off()
        ours = {part.name: part for part in self._progress.parts}
        for part in self._manifest.parts:
            if ours.get(part.name) != part:
                raise Damaged(f"{part.name} arrived otherwise than it was sent")
        whole = Manifest.of(self._progress.plan, self._progress.parts, made_at=self._manifest.made_at)
        self._folder.finish(whole)
        return whole

    def _take_plan(self, plan: Plan) -> None:
        if self._progress is None:
            self._progress = self._folder.begin(plan)
        elif (plan.tenant_id, plan.epoch) != (self._progress.plan.tenant_id, self._progress.plan.epoch):
            raise Trouble("The folder holds the beginning of another log's export.", then="name another folder")


class _Bytes(io.RawIOBase):
    """An answer's body, as a file that is read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        end = len(self._rest) if size < 0 else size
        found, self._rest = self._rest[:end], self._rest[end:]
        return found


def _token(progress: Progress, position: int) -> str:
    return f"{progress.plan.epoch}:{position}"


def _cut_off() -> Trouble:
    return Trouble(
        "The download was cut off.",
        then="type the command again: it goes on where it stopped",
        exit_code=exits.UNREACHABLE,
    )
