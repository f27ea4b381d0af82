"""The agent's folder on disk: records written whole or not at all, and files kept by their content's digest."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

import msgspec

from providers.local.artifact import content_digest, file_digest
from providers.local.records import Deployment, Route


class AgentRunning(Exception):
    """Another agent owns this folder; stop it first, or use another DCF_DATA_DIR."""


class Store:
    """`deployments/<id>/` (record, logs, build folder, the process's own folder), `routes/<function>.json`,
    `sources/<digest>` and `artifacts/<digest>`. One agent at a time owns the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: BinaryIO | None = None
        for name in ("deployments", "routes", "sources", "artifacts"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)

    def own(self) -> str:
        """Take the folder until `disown` or the end of the process, and return its name for life. Raises AgentRunning."""
        if self._lock is None:
            self._lock = self._locked()
        name = self.folder / "name"
        if not name.exists():
            _write(name, uuid4().hex.encode())
        return name.read_text()

    def _locked(self) -> BinaryIO:
        lock = (self.folder / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise AgentRunning(f"Another agent owns {self.folder}; stop it, or set another DCF_DATA_DIR.") from None
        for left_over in self.folder.rglob("*.part"):
            left_over.unlink(missing_ok=True)
        return lock

    def disown(self) -> None:
        """Let another agent have the folder."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def deployments(self) -> list[Deployment]:
        """Every record there is."""
        return [
            msgspec.json.decode(path.read_bytes(), type=Deployment)
            for path in (self.folder / "deployments").glob("*/record.json")
        ]

    def save(self, deployment: Deployment) -> None:
        """Make the record durable."""
        self.place(deployment.id).mkdir(exist_ok=True, mode=0o700)
        _write(self.place(deployment.id) / "record.json", msgspec.json.encode(deployment))

    def remove(self, deployment_id: UUID) -> None:
        """Forget the deployment; its record goes last, so that an interrupted removal is seen and repeated."""
        place = self.place(deployment_id)
        for path in place.glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "record.json":
                path.unlink()
        shutil.rmtree(place, ignore_errors=True)

    def routes(self) -> list[Route]:
        """Every route there is."""
        return [msgspec.json.decode(path.read_bytes(), type=Route) for path in (self.folder / "routes").glob("*.json")]

    def save_route(self, route: Route) -> None:
        """Make the route durable."""
        _write(self.folder / "routes" / f"{route.function_id}.json", msgspec.json.encode(route))

    def place(self, deployment_id: UUID) -> Path:
        """The deployment's own folder, which may not exist yet."""
        return self.folder / "deployments" / str(deployment_id)

    def keep_source(self, content: bytes) -> str:
        """Store bytes once; their digest."""
        digest = content_digest(content)
        path = self.source(digest)
        if not path.exists():
            _write(path, content)
        return digest

    def keep_artifact(self, built: Path) -> str:
        """Move a built file to its content's address; the digest. Asked again after the move, it is an error."""
        digest = file_digest(built)
        built.chmod(0o700)
        with built.open("rb") as file:
            os.fsync(file.fileno())
        built.replace(self.artifact(digest))
        _sync(self.artifact(digest).parent)
        return digest

    def source(self, digest: str) -> Path:
        return self.folder / "sources" / digest.removeprefix("sha256:")

    def artifact(self, digest: str) -> Path:
        return self.folder / "artifacts" / digest.removeprefix("sha256:")

    def try_writing(self) -> None:
        """Write a file and remove it. Raises OSError when that cannot be done."""
        path = self.folder / "sources" / "trial"
        _write(path, b"trial")
        path.unlink()

    def sweep(self, deployments: Iterable[Deployment]) -> None:
        """Remove stored files that no deployment refers to."""
        known = list(deployments)
        sources = {digest.removeprefix("sha256:") for one in known for digest in one.files.values()}
        artifacts = {one.built_digest.removeprefix("sha256:") for one in known}
        for folder, used in (("sources", sources), ("artifacts", artifacts)):
            for path in (self.folder / folder).iterdir():
                if path.name not in used:
                    path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
