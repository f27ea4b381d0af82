"""A real registry behind the emulators' own: Debian's `docker-registry`, where it is installed, on this machine's loopback.

What a build made is pushed there and taken away where it was built, and what runs is pulled from there by its digest.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import httpx

from tests.emulators.processes import free_port, listens

PROGRAM = "docker-registry"
START_SECONDS_MAX = 30
_REPOSITORY = "built"
# Docker's own form, which all three clouds take: https://distribution.github.io/distribution/spec/manifest-v2-2/
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class NoRegistry(Exception):
    """There is none on this machine, or it does not start. The message says why."""


class Registry:
    """One of its own, in a folder. Raises NoRegistry."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/bin:/usr/sbin")
        if program is None:
            raise NoRegistry(f"there is no {PROGRAM} here")
        folder.mkdir(parents=True)
        self._host = f"127.0.0.1:{free_port()}"
        (folder / "config.yml").write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder / 'images'}}}}}\nhttp: {{addr: {self._host}}}\n"
        )
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                (program, "serve", str(folder / "config.yml")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        ends = time.monotonic() + START_SECONDS_MAX
        while not listens(int(self._host.rpartition(":")[2])):
            if self._process.poll() is not None or time.monotonic() > ends:
                self.close()
                raise NoRegistry(f"{PROGRAM} does not start: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.02)

    def tagged(self, tag: str) -> str:
        """Where to push an image to."""
        return f"{self._host}/{_REPOSITORY}:{tag}"

    def by_digest(self, digest: str) -> str:
        """Where to pull one from."""
        return f"{self._host}/{_REPOSITORY}@{digest}"

    def manifest(self, digest: str) -> str:
        """The manifest as it was pushed, of which the digest is."""
        answer = httpx.get(
            f"http://{self._host}/v2/{_REPOSITORY}/manifests/{digest}",
            headers={"Accept": MANIFEST_TYPE},
            trust_env=False,
        )
        return answer.raise_for_status().text

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
