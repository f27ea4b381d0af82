"""`dcf integrations`: where a project may deploy to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final

import click

from cli import exits
from cli.arguments import project_option
from cli.client import Json
from cli.epilog import epilog
from cli.lookup import project_of
from cli.screen import Colour
from cli.session import Session, shown
from cli.trouble import Trouble

# Longer than the slowest cloud takes to show a right that was given.
VERIFY_SECONDS_MAX = 660.0
LOOK_SECONDS = 1.0

# How each provider is connected and verified: the addresses behind …/integrations/.
_CONNECT: Final = {"local": "local/connect", "azure": "azure/wif/register", "gcp": "gcp/wif/connect"}
_VERIFY: Final = {
    "local": "local/verify",
    "aws": "aws/oidc/verify",
    "azure": "azure/wif/verify",
    "gcp": "gcp/wif/verify",
}
_COLUMNS = {
    "provider": "provider",
    "status": "status",
    "identity": "identityStatus",
    "storage": "storageStatus",
    "updated": "updatedAt",
}


@click.group(epilog=epilog("dcf integrations connect local --project shop", "dcf integrations verify gcp"))
def integrations() -> None:
    """Integrations: the clouds, or this machine, that a project may deploy to."""


@integrations.command("list", epilog=epilog("dcf integrations list", "dcf integrations list --project shop --json"))
@project_option
@shown
@click.pass_obj
def list_(session: Session, project: str | None) -> None:
    """List the integrations of a project."""
    found = session.api.items(f"projects/{project_of(session, project)['projectId']}/integrations")
    session.screen.rows(found, _COLUMNS, empty="Nothing is connected yet. Type: dcf integrations connect local")


@integrations.command(
    epilog=epilog(
        "dcf integrations connect local",
        """dcf integrations connect gcp --identity "$(cat identity.json)" --storage '{"bucket": "shop-sources"}'""",
        exit_codes=True,
    )
)
@click.argument("provider", type=click.Choice(list(_VERIFY)))
@project_option
@click.option("--identity", default="{}", metavar="JSON", help="The identity's fields, as the API takes them.")
@click.option("--storage", default="{}", metavar="JSON", help="The storage's fields, as the API takes them.")
@click.option("--timeout", type=float, default=VERIFY_SECONDS_MAX, show_default=True, help="Seconds to wait for it.")
@shown
@click.pass_obj
def connect(session: Session, provider: str, project: str | None, identity: str, storage: str, timeout: float) -> None:
    """Connect a provider, verify it, then check and save its storage. `local`, this machine, needs no fields."""
    fields, bucket = _object(identity, "--identity"), _object(storage, "--storage")
    project_id = project_of(session, project)["projectId"]
    connected = connected_to(session, project_id, provider, identity=fields, storage=bucket, seconds_max=timeout)
    session.screen.fields(connected, _COLUMNS)


@integrations.command(epilog=epilog("dcf integrations verify local --project shop", exit_codes=True))
@click.argument("provider", type=click.Choice(list(_VERIFY)))
@project_option
@click.option("--timeout", type=float, default=VERIFY_SECONDS_MAX, show_default=True, help="Seconds to wait for it.")
@shown
@click.pass_obj
def verify(session: Session, provider: str, project: str | None, timeout: float) -> None:
    """Look, step by step, whether a connected provider can be used."""
    project_id = project_of(session, project)["projectId"]
    seen = verified(session, project_id, provider, seconds_max=timeout)
    session.screen.result(seen)
    session.screen.say(f"{provider} is verified.", "green")


@integrations.command(epilog=epilog('dcf integrations disconnect local --reason "moving"'))
@click.argument("provider", type=click.Choice(list(_VERIFY)))
@project_option
@click.option("--reason", default="", help="Why, for the audit trail.")
@shown
@click.pass_obj
def disconnect(session: Session, provider: str, project: str | None, reason: str) -> None:
    """Deploy to a provider no more. What is live there stays, until it is undeployed."""
    path = f"projects/{project_of(session, project)['projectId']}/integrations/{provider}/disconnect"
    gone = session.api.write("POST", path, {"reason": reason} if reason else {})
    session.screen.fields(gone, _COLUMNS)


def connected_to(
    session: Session, project_id: str, provider: str, *, identity: Json, storage: Json, seconds_max: float
) -> Json:
    """Connect, verify, check and save the storage; the integration as it then is. Raises Trouble."""
    base = f"projects/{project_id}/integrations"
    if provider in _CONNECT:
        session.api.write("POST", f"{base}/{_CONNECT[provider]}", identity)
        session.screen.say(f"Connected {provider}.")
    verified(session, project_id, provider, seconds_max=seconds_max, fields=identity if provider == "aws" else {})
    _settled(
        session,
        lambda: session.api.write("POST", f"{base}/{provider}/bucket/check", storage),
        f"the storage of {provider}",
        seconds_max=seconds_max,
        then=f"dcf integrations connect {provider} --project {project_id} --storage …",
    )
    configured: Json = session.api.write("POST", f"{base}/{provider}/bucket/config", storage)
    session.screen.say("Storage checked and saved.")
    return configured


def verified(
    session: Session, project_id: str, provider: str, *, seconds_max: float, fields: Json | None = None
) -> Json:
    """Ask until the provider is verified; each step is told. Raises Trouble when it failed or takes too long."""
    path = f"projects/{project_id}/integrations/{_VERIFY[provider]}"
    return _settled(
        session,
        lambda: session.api.write("POST", path, fields or {}),
        provider,
        seconds_max=seconds_max,
        then=f"dcf integrations verify {provider} --project {project_id}",
    )


def _settled(session: Session, look: Callable[[], Json], what: str, *, seconds_max: float, then: str) -> Json:
    """Look until it is no longer pending. What is refused meanwhile, as a right is that has to spread or was never given, is
    told once with what mends it. Raises Trouble."""
    end, told = time.monotonic() + seconds_max, ""
    while True:
        seen = look()
        if seen["status"] != "pending":
            _told(session, seen, what)
            return seen
        refused = _failed(seen)
        if refused is not None and refused["message"] != told:
            told = refused["message"]
            session.screen.say(f"  waiting  {refused['name']}: {told}", "yellow")
            session.screen.say(f"  If it was not done yet: {refused['remedy']}")
        if time.monotonic() >= end:
            said = f": {refused['message']}" if refused is not None else ""
            raise Trouble(
                f"{what} is still being verified after {seconds_max:g} s; the service goes on looking{said}",
                then=refused["remedy"] if refused is not None else then,
                exit_code=exits.TIMED_OUT,
            )
        session.screen.progress("; ".join(step["message"] for step in seen["steps"] if step["status"] != "passed"))
        time.sleep(LOOK_SECONDS)


def _failed(seen: Json) -> Json | None:
    return next((step for step in seen["steps"] if step["status"] == "failed"), None)


def _told(session: Session, seen: Json, what: str) -> None:
    """Say what each step found. Raises Trouble, with the remedy, for the first that failed."""
    for step in seen["steps"]:
        colour: Colour = "red" if step["status"] == "failed" else "plain"
        session.screen.say(f"  {step['status']:<8} {step['name']}: {step['message']}", colour)
    failed = _failed(seen)
    if seen["status"] == "failed":
        said = f": {failed['message']}" if failed else ""
        raise Trouble(f"{what} failed{said}", then=(failed or {}).get("remedy") or "dcf doctor")


def _object(text: str, option: str) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Trouble(f"{option} takes a JSON object.", exit_code=exits.USAGE)
    return found
