"""Images that are really built, by buildah, and run, by podman; only their base images are stand-ins."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from providers.local.stand_in_fetch import StandInFiles
from tests.emulators.images import BuildFailed
from tests.emulators.processes import Running
from tests.emulators.registry import NoRegistry, Registry

BASE = "localhost/dcf-stand-in-dart"
TOOLS = ("sh", "cat", "tail", "mkdir", "cp", "rm", "ls", "chmod", "env")
SECONDS_MAX = 120
# The ports are this machine's; the limits are those that a machine without privileges can set.
_ON_THIS_MACHINE = ("--network=host", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096", "--log-driver=none")
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE | re.MULTILINE)
_DART = re.compile(r"(?:^|/)dart:[\w.-]+$")

# `dart` in the stand-in base image. A compiled program is a kernel file behind a line that says what runs it, so that
# it can be copied into an empty image as a real one can.
_DART_SHIM = """#!/bin/sh
vm="/runtime/dcf/ld-linux.so.2 --library-path /runtime/dcf /runtime/dcf/dart"
case "$1 $2" in
"pub get") mkdir -p .dart_tool; echo '{"configVersion":2,"packages":[]}' > .dart_tool/package_config.json; echo "Got dependencies!";;
"compile exe")
  source="$3"; shift 3; output="${source%.dart}.exe"
  while [ $# -gt 0 ]; do case "$1" in -o|--output) output="$2"; shift;; esac; shift; done
  $vm --snapshot=/tmp/program.dill --snapshot-kind=kernel "$source" || exit 64
  [ -e /tmp/program.dill ] || exit 64
  { echo '#!/dcf/run'; cat /tmp/program.dill; } > "$output"; chmod 755 "$output"; echo "Generated: $output";;
*) exec $vm "$@";;
esac
"""
_RUN = """#!/dcf/sh
/dcf/mkdir -p /tmp
program="/tmp/$$.dill"
/dcf/tail -n +2 "$1" > "$program"
shift
exec /dcf/ld-linux.so.2 --library-path /dcf /dcf/dart "$program" "$@"
"""


class Unusable(Exception):
    """Images cannot be built and run for real here. The message says why."""


def check_tools() -> None:
    """Raise Unusable where a tool is missing."""
    if lacking := [name for name in ("buildah", "podman", "runc", "ldd") if shutil.which(name) is None]:
        raise Unusable(f"there is no {', '.join(lacking)} here")


class Containers:
    """The craft of buildah and podman, with storage of its own in a folder. Raises Unusable where they do not work."""

    stands_in_for = (
        "Images are really built and run; the base image dart:* is a stand-in with a Dart VM of another version, "
        "whose programs are not native code."
    )

    def __init__(self, folder: Path, vm: StandInFiles) -> None:
        check_tools()
        self._folder, self._vm = folder, vm
        # The tests' own folders are longer than the 50 characters that podman allows here.
        self._run = Path(tempfile.mkdtemp(prefix="dcf-", dir="/tmp"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        (folder / "registries.conf").write_text('unqualified-search-registries = ["localhost"]\n')
        self._tagged: set[str] = set()
        try:
            self._make_base()
            self._try()
            self.registry: Registry | None = self._registry()
        except (BuildFailed, OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(self._run, ignore_errors=True)
            raise Unusable(f"buildah or podman does not work here: {error}") from error

    def build(self, folder: Path, arguments: Mapping[str, str], running: Running) -> str:
        dockerfile = folder / "Dockerfile"
        if not dockerfile.exists():
            raise BuildFailed("unable to prepare context: no Dockerfile")
        self._provide(dockerfile.read_text(), arguments)
        name = f"localhost/built:{uuid4().hex}"
        given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        argv = (*self._buildah("bud"), "--isolation", "chroot", "--pull-never", *given, "-t", name, str(folder))
        if running.run(argv, environment=self._environment()) != 0:
            raise BuildFailed("ERROR: build step 0 failed: step exited with non-zero status")
        return self._pushed(name)

    def preceded(self, digest: str, program: str, running: Running) -> str:
        own = json.loads(self._ask(*self._podman("inspect"), "--type", "image", self._image_of(digest)))[0]["Config"]
        folder, name = self._folder / uuid4().hex, f"localhost/preceded:{uuid4().hex}"
        folder.mkdir()
        (folder / "open.dart").write_text(program)
        command = json.dumps(["/opt/dcf/open", *(own.get("Entrypoint") or [])])
        (folder / "Dockerfile").write_text(
            f"FROM {BASE} AS opener\nCOPY open.dart /open.dart\nRUN dart compile exe /open.dart -o /open\n"
            f"FROM {self._image_of(digest)}\nCOPY --from=opener /open /opt/dcf/open\n"
            f"ENTRYPOINT {command}\nCMD {json.dumps(own.get('Cmd') or [])}\n"
        )
        argv = (*self._buildah("bud"), "--isolation", "chroot", "--pull-never", "-t", name, str(folder))
        if running.run(argv, environment=self._environment()) != 0:
            raise BuildFailed("ERROR: the program before the image's own was not made")
        return self._pushed(name)

    def manifest(self, digest: str) -> str | None:
        return self.registry.manifest(digest) if self.registry else None

    def stored(self) -> set[str]:
        """The digests of the images that the engine itself holds."""
        return {str(image["digest"]) for image in json.loads(self._ask(*self._buildah("images"), "--json"))}

    def start(self, digest: str, environment: Mapping[str, str], running: Running) -> None:
        given = [word for key, value in environment.items() for word in ("--env", f"{key}={value}")]
        argv = (
            *self._podman("run"),
            "--rm",
            *_ON_THIS_MACHINE,
            *given,
            self._image_of(digest),
        )
        running.start(argv, environment=self._environment())

    def _try(self) -> None:
        """Run a program while building and in a container: some users may only copy files into images."""
        probe = self._folder / "probe"
        probe.mkdir()
        (probe / "Dockerfile").write_text(f"FROM {BASE}\nRUN env\n")
        self._ask(*self._buildah("bud"), "--isolation", "chroot", "--pull-never", str(probe))
        self._ask(*self._podman("run"), "--rm", *_ON_THIS_MACHINE, BASE, "/bin/env")

    def close(self) -> None:
        """Take away what the engines keep, which plain removal of the folder may not."""
        if self.registry:
            self.registry.close()
        subprocess.run(
            (*self._podman("rm"), "--all", "--force"), env=self._environment(), capture_output=True, check=False
        )
        shutil.rmtree(self._run, ignore_errors=True)

    def _registry(self) -> Registry | None:
        try:
            return Registry(self._folder / "registry")
        except NoRegistry:
            return None

    def _pushed(self, name: str) -> str:
        """The image's digest, in the registry where there is one: what was built then stays nowhere else."""
        if self.registry is None:
            return self._ask(*self._buildah("inspect"), "--type", "image", "--format", "{{.FromImageDigest}}", name)
        told, place = self._folder / uuid4().hex, self.registry.tagged(uuid4().hex)
        given = ("--format", "v2s2", "--digestfile", str(told), name, f"docker://{place}")
        self._ask(*self._buildah("push"), *self._unsigned, *given)
        self._ask(*self._buildah("rmi"), name)
        return told.read_text().strip()

    def _image_of(self, digest: str) -> str:
        if self.registry is not None:
            self._ask(*self._podman("pull"), *self._unsigned, self.registry.by_digest(digest))
            return self.registry.by_digest(digest)
        images = json.loads(self._ask(*self._buildah("images"), "--json"))
        return next(str(image["id"]) for image in images if image.get("digest") == digest)

    def _provide(self, dockerfile: str, arguments: Mapping[str, str]) -> None:
        """Give the stand-in base the names that the Dockerfile calls it by."""
        for image, _ in _FROM.findall(dockerfile):
            for key, value in arguments.items():
                image = image.replace(f"${{{key}}}", value).replace(f"${key}", value)
            if _DART.search(image) and image not in self._tagged:
                name = image if "/" in image else f"localhost/{image}"
                self._ask(*self._buildah("tag"), BASE, name)
                self._tagged.add(image)

    def _make_base(self) -> None:
        root = self._folder / "base"
        runtime = root / "runtime" / "dcf"
        runtime.mkdir(parents=True)
        for name in ("bin", "tmp"):
            (root / name).mkdir()
        libraries = self._vm.libraries or Path("/lib32")
        for library in libraries.iterdir():
            if library.is_file():
                shutil.copy(library, runtime / library.name)
        shutil.copy(self._vm.dart, runtime / "dart")
        for tool in TOOLS:
            self._copy_tool(tool, root, runtime if tool in ("sh", "tail", "mkdir") else None)
        _script(root / "bin" / "dart", _DART_SHIM)
        _script(runtime / "run", _RUN)
        (root / "Dockerfile").write_text("FROM scratch\nCOPY . /\nENV PATH=/bin\nENTRYPOINT []\n")
        (root / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
        self._ask(*self._buildah("bud"), "--isolation", "chroot", "-t", BASE, str(root))

    def _copy_tool(self, tool: str, root: Path, runtime: Path | None) -> None:
        """The machine's own program with the libraries it is linked to, at the places they expect to be."""
        found = Path(shutil.which(tool) or f"/bin/{tool}").resolve()
        shutil.copy(found, root / "bin" / tool)
        linked = subprocess.run(("ldd", str(found)), capture_output=True, text=True, check=True).stdout
        for word in linked.split():
            if word.startswith("/") and Path(word).exists():
                places = [root, *([root / "runtime"] if runtime else [])]
                for place in places:
                    target = place / word.lstrip("/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(Path(word).resolve(), target)
        if runtime:
            shutil.copy(found, runtime / tool)

    def _buildah(self, verb: str) -> tuple[str, ...]:
        return ("buildah", *self._storage(), verb)

    def _podman(self, verb: str) -> tuple[str, ...]:
        return ("podman", *self._storage(), "--runtime", "runc", "--cgroup-manager", "cgroupfs", verb)

    @property
    def _unsigned(self) -> tuple[str, ...]:
        """The registry is this machine's, without TLS or signatures."""
        return ("--quiet", "--tls-verify=false", "--signature-policy", str(self._folder / "policy.json"))

    def _storage(self) -> tuple[str, ...]:
        return ("--root", str(self._folder / "storage"), "--runroot", str(self._run), "--storage-driver", "vfs")

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CONTAINERS_REGISTRIES_CONF": str(self._folder / "registries.conf"),
            "BUILDAH_LAYERS": "false",
        }

    def _ask(self, *argv: str) -> str:
        done = subprocess.run(
            argv, env=self._environment(), capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
        if done.returncode:
            raise BuildFailed(f"{' '.join(argv[:6])}: {done.stderr.strip()[-1000:]}")
        return done.stdout.strip()


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
