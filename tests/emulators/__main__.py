"""Clouds to try things in, without an account. They run until they are interrupted.

Of each it is said which variables lead a service there, and what to send to its routes. `POST /prepare` at its control,
with the `issuer` of the service and the `subject` of a project, does what a customer does in the cloud before connecting.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from domain.clouds import ProviderName
from tests.emulators.azure.azurite.fetching import AzuriteUnavailable, fetched
from tests.emulators.azure.cloud import AzureCloud
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
    parser.add_argument("cloud", nargs="*", help=f"which of {', '.join(sorted(EMULATORS))}; all of them unless given")
    parser.add_argument("--json", action="store_true", help="one line of JSON each instead of a text")
    parser.add_argument("--recorded", action="store_true", help="compile with the stand-in Dart VM, build no image")
    parser.add_argument("--toolchain", type=Path, default=TOOLCHAIN_DIR, help="where the stand-in Dart VM is kept")
    options = parser.parse_args()
    if unknown := set(options.cloud) - set(EMULATORS):
        parser.error(f"there is no emulator of {', '.join(sorted(unknown))}; there are {', '.join(sorted(EMULATORS))}")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    background, clouds = Background(), []
    with tempfile.TemporaryDirectory(prefix="dcf-emulators-", ignore_cleanup_errors=True) as folder:
        try:
            for name in options.cloud or sorted(EMULATORS):
                cloud = _emulator(name, _workshop(Path(folder) / name, options), options)
                clouds.append(cloud)
                told = _described(cloud, _control(background, cloud))
                sys.stdout.write(msgspec.json.encode(told).decode() + "\n" if options.json else _in_words(told))
                sys.stdout.flush()
            stop.wait()
        finally:
            for cloud in clouds:
                cloud.close()
            background.close()
    return 0


def _emulator(name: ProviderName, work: Workshop, options: argparse.Namespace) -> Cloud:
    """The one of Azure keeps its blobs in Azurite where that can be had."""
    if name == "azure" and not options.recorded:
        try:
            return AzureCloud(work, fetched(options.toolchain))
        except AzuriteUnavailable as unavailable:
            sys.stderr.write(f"Blobs are kept by a stand-in of our own: {unavailable}\n")
    return EMULATORS[name](work)


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


def _described(cloud: Cloud, control: str) -> dict[str, Any]:
    return {
        "provider": cloud.name,
        "settings": dict(cloud.settings),
        "standsInFor": cloud.stands_in_for,
        "connect": {cloud.connect: dict(cloud.identity)},
        "verify": cloud.verify,
        "bucket": {cloud.bucket: dict(cloud.storage)},
        "target": cloud.target("hello"),
        "control": control,
    }


def _in_words(told: dict[str, Any]) -> str:
    """What to type, for somebody at a terminal."""
    [(connect, identity)], [(bucket, storage)] = told["connect"].items(), told["bucket"].items()
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in told["settings"].items())
    integrations = "/api/v1/projects/PROJECT/integrations"
    return f"""
{told["provider"]}: {told["standsInFor"]}
  Start a service that meets it:
    {settings} make run
  Let a project in, as its customer would (the service's address, and the ids of the tenant and the project):
    curl {told["control"]}/prepare -d '{{"issuer": "http://127.0.0.1:8000", "subject": "tenant:TENANT:project:PROJECT"}}'
  Then send to the service:
    POST {integrations}/{connect}  {_json(identity)}
    POST {integrations}/{told["verify"]}  {{}}
    POST {integrations}/{bucket}/check and /config  {_json(storage)}
  and deploy with the target {_json(told["target"])}
"""


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    sys.exit(main())
