"""`python -m tests.emulators gcp`: a cloud to try things in, without an account. Runs until it is interrupted.

Prints one line of JSON: the variables that lead a service there, and what to send to its routes. To `POST /prepare`
at `control`, with the service's `issuer` and the `subject` of a project, does what a customer does before connecting.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
from aiohttp import web

from tests.emulators.background import Background
from tests.emulators.catalogue import EMULATORS
from tests.emulators.cloud import Cloud
from tests.emulators.containers import Unusable
from tests.emulators.images import Workshop
from tests.emulators.workshop import workshop

TOOLCHAIN_DIR = Path(__file__).resolve().parents[2] / ".dcf" / "toolchain"


class _Prepare(msgspec.Struct, forbid_unknown_fields=True):
    issuer: str
    subject: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators", description=__doc__)
    parser.add_argument("cloud", nargs="+", choices=sorted(EMULATORS))
    parser.add_argument("--recorded", action="store_true", help="compile with the stand-in Dart VM, build no image")
    parser.add_argument("--toolchain", type=Path, default=TOOLCHAIN_DIR, help="where the stand-in Dart VM is kept")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    background, clouds = Background(), []
    with tempfile.TemporaryDirectory(prefix="dcf-emulators-", ignore_cleanup_errors=True) as folder:
        try:
            for name in options.cloud:
                cloud = EMULATORS[name](_workshop(Path(folder) / name, options))
                clouds.append(cloud)
                sys.stdout.write(f"{_described(cloud, _control(background, cloud)).decode()}\n")
                sys.stdout.flush()
            stop.wait()
        finally:
            for cloud in clouds:
                cloud.close()
            background.close()
    return 0


def _workshop(folder: Path, options: argparse.Namespace) -> Workshop:
    if not options.recorded:
        try:
            return workshop(folder / "real", options.toolchain, real=True)
        except Unusable as unusable:
            sys.stderr.write(f"Images are recorded only: {unusable}\n")
    return workshop(folder / "recorded", options.toolchain, real=False)


def _control(background: Background, cloud: Cloud) -> str:
    async def prepare(request: web.Request) -> web.Response:
        given = msgspec.json.decode(await request.read(), type=_Prepare)
        cloud.prepare(given.issuer, given.subject)
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/prepare", prepare)
    return f"http://127.0.0.1:{background.serve(app)}"


def _described(cloud: Cloud, control: str) -> bytes:
    return msgspec.json.encode(
        {
            "provider": cloud.name,
            "settings": dict(cloud.settings),
            "standsInFor": cloud.stands_in_for,
            "connect": {cloud.connect: dict(cloud.identity)},
            "verify": cloud.verify,
            "bucket": {cloud.bucket: dict(cloud.storage)},
            "target": cloud.target("hello"),
            "control": control,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
