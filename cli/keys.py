"""`dcf keys`: API keys for machines."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import click

from cli import exits
from cli.client import Json
from cli.completions import key_names, project_names, scope_names
from cli.epilog import epilog
from cli.lookup import project_of
from cli.session import Session, shown
from cli.trouble import Trouble

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_LIFETIME = re.compile(r"([1-9][0-9]{0,4})([hdw])")

_COLUMNS = {
    "name": "name",
    "id": "keyId",
    "role": "role",
    "scopes": "scopes",
    "projects": "projects",
    "a minute": "requestsPerMinute",
    "expires": "expiresAt",
    "replaced by": "replacedBy",
    "last used": "lastUsedAt",
    "revoked": "revokedAt",
}


@click.group(
    epilog=epilog(
        "dcf keys create ci --role developer --expires-in 90d",
        "dcf keys revoke ci",
    )
)
def keys() -> None:
    """API keys: shown once, stored hashed, scoped, expiring, revocable."""


@keys.command("list", epilog=epilog("dcf keys list", "dcf keys list --all --json"))
@click.option("--all", "revoked", is_flag=True, help="The revoked ones too.")
@shown
@click.pass_obj
def list_(session: Session, revoked: bool) -> None:
    """List the keys of the tenant."""
    found = [key for key in session.api.items("keys") if revoked or not key.get("revokedAt")]
    session.screen.rows(found, _COLUMNS, empty="No keys.")


@keys.command(
    epilog=epilog(
        "dcf keys create ci --role developer --expires-in 90d",
        "dcf keys create deployer --scope deployments:write --scope artifacts:write > deployer.key",
        "dcf keys create shop-ci --for-project shop --per-minute 120",
    )
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "developer", "admin", "owner", "operator"]),
    default="developer",
    show_default=True,
    help="What it may do.",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    shell_complete=scope_names,
    help="Only this of what the role allows; repeat for more.",
)
@click.option("--expires-in", metavar="TIME", help="12h, 90d or 8w; without it the key does not expire.")
@click.option(
    "--for-project",
    "projects",
    metavar="NAME|ID",
    multiple=True,
    shell_complete=project_names,
    help="Only for this project; repeat for more.",
)
@click.option("--per-minute", type=click.IntRange(1, 1_000_000), help="Requests it may make a minute, of the tenant's.")
@shown
@click.pass_obj
def create(
    session: Session,
    name: str,
    role: str,
    scopes: tuple[str, ...],
    expires_in: str | None,
    projects: tuple[str, ...],
    per_minute: int | None,
) -> None:
    """Create a key and print it, this once, alone on standard output."""
    body: Json = {"name": name, "role": role}
    if projects:
        body["projects"] = [project_of(session, project)["projectId"] for project in projects]
    if per_minute is not None:
        body["requestsPerMinute"] = per_minute
    if scopes:
        body["scopes"] = list(scopes)
    if expires_in:
        body["expiresAt"] = _from_now(expires_in)
    made = session.api.write("POST", "keys", body)
    if made["key"] is None:
        _withdraw(session, made)
    session.screen.warn("The key is shown only this once: keep it now.")
    session.screen.result(made, made["key"])


@keys.command(epilog=epilog("dcf keys rotate ci", "dcf keys rotate ci --overlap 7d > ci.key"))
@click.argument("key", metavar="NAME|ID", shell_complete=key_names)
@click.option("--overlap", metavar="TIME", help="How long the former goes on: 12h, 7d or 2w (24h).")
@click.option("--expires-in", metavar="TIME", help="12h, 90d or 8w; without it as long as the former was given.")
@shown
@click.pass_obj
def rotate(session: Session, key: str, overlap: str | None, expires_in: str | None) -> None:
    """Make a key in the place of another and print it, this once. The former works on for a while."""
    known = _known(session, key)
    given = {"overlapUntil": overlap, "expiresAt": expires_in}
    body = {name: _from_now(time) for name, time in given.items() if time}
    made = session.api.write("POST", f"keys/{known['keyId']}/rotate", body)
    if made["key"] is None:
        session.api.write("DELETE", f"keys/{made['keyId']}")
        raise Trouble(
            "The connection was lost when the new key was shown; it is revoked again, and the former ends soon.",
            then=f"dcf keys create {known['name']}",
        )
    session.screen.warn("The key is shown only this once: keep it now.")
    session.screen.result(made, made["key"])


@keys.command(epilog=epilog("dcf keys revoke ci"))
@click.argument("key", metavar="NAME|ID", shell_complete=key_names)
@shown
@click.pass_obj
def revoke(session: Session, key: str) -> None:
    """Make a key useless, at once and for ever."""
    known = _known(session, key)
    session.api.write("DELETE", f"keys/{known['keyId']}")
    session.screen.say(f"Revoked {known['name']} ({known['keyId']}).")
    session.screen.result({"keyId": known["keyId"], "revoked": True})


def _withdraw(session: Session, made: Json) -> NoReturn:
    """The first answer was lost on the way, and the key with it: nobody will ever know it."""
    session.api.write("DELETE", f"keys/{made['keyId']}")
    raise Trouble(
        "The connection was lost when the key was shown; that key is revoked again.", then="type the command again"
    )


def _known(session: Session, wanted: str) -> Json:
    valid = [key for key in session.api.items("keys") if not key.get("revokedAt")]
    by_id = [key for key in valid if key["keyId"] == wanted.lower()]
    match by_id or [key for key in valid if key["name"] == wanted and not key.get("replacedBy")]:
        case [only]:
            return only
        case []:
            raise Trouble(f"There is no valid key {wanted!r}.", then="dcf keys list")
        case _:
            raise Trouble(
                f"Several keys are named {wanted!r}.", then="give its id: dcf keys list", exit_code=exits.USAGE
            )


def _from_now(text: str) -> str:
    return (datetime.now(UTC) + _lifetime(text)).isoformat().replace("+00:00", "Z")


def _lifetime(text: str) -> timedelta:
    found = _LIFETIME.fullmatch(text)
    if found is None:
        raise Trouble(f"A time is like 12h, 90d or 8w, not {text!r}.", exit_code=exits.USAGE)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
