"""`dcf login`, `logout`, `whoami`."""

from __future__ import annotations

from pathlib import Path

import click

from cli.account import URL_DEFAULT, Account, read_key, tidy_url
from cli.client import Api, Json
from cli.epilog import epilog
from cli.screen import Screen
from cli.session import Session, shown
from process import ports
from process.secret import Secret

_FIELDS = {
    "tenant": "tenant.name",
    "plan": "tenant.plan",
    "role": "role",
    "caller": "actor.type",
    "id": "actor.id",
    "permissions": "permissions",
}


@click.command(epilog=epilog("dcf login --key-file .dcf/owner.key", "dcf login --url https://functions.example.com"))
@click.option("--url", help=f"The service's address (DCF_URL, the one served here, {URL_DEFAULT}).")
@click.option("--key", help="The API key. Others on this machine can see it here: prefer --key-file or the prompt.")
@click.option(
    "--key-file", type=click.Path(path_type=Path, dir_okay=False), help="A file with the API key in its first line."
)
@shown
@click.pass_obj
def login(session: Session, url: str | None, key: str | None, key_file: Path | None) -> None:
    """Keep the address of a service and a key to it, once the service takes the key.

    Without --url it is the service that runs here. The key is asked for, unseen, unless an option gives it.
    """
    file = key_file or session.key_file
    address = tidy_url(url or session.url or session.environment.get("DCF_URL") or _address_here(session, file))
    if key is None and file is None:
        key = click.prompt(f"API key for {address}", hide_input=True, err=True)
    account = Account(address, read_key(file) if file else Secret((key or "").strip()))
    if account.is_open:
        session.screen.warn(f"{address} is not encrypted: whoever is on the way can read your key.")
    me = _me(account)
    session.logins.save(account)
    session.screen.say(f"Signed in to {address}; kept in {session.logins.path}.", "green")
    _show(session.screen, me)


@click.command(epilog=epilog("dcf logout"))
@click.pass_obj
def logout(session: Session) -> None:
    """Forget the address and the key. The key itself stays valid: see `dcf keys revoke`."""
    existed = session.logins.forget()
    session.screen.say("Signed out." if existed else "You were not signed in.")


@click.command(epilog=epilog("dcf whoami", "dcf whoami --json"))
@shown
@click.pass_obj
def whoami(session: Session) -> None:
    """Show whose key it is, in which tenant, and what it may do."""
    me = session.api.get("me")
    session.screen.say(f"{session.account.url}", "dim")
    _show(session.screen, me)


def _address_here(session: Session, key_file: Path | None) -> str:
    """The service whose first key lies beside what it wrote down, or that of this folder's data directory."""
    folders = [key_file.parent] if key_file else []
    for folder in [*folders, Path(session.environment.get("DCF_DATA_DIR") or ".dcf")]:
        if folder.is_dir() and (port := ports.recorded(folder).get("api")):
            return f"http://127.0.0.1:{port}"
    return URL_DEFAULT


def _me(account: Account) -> Json:
    api = Api(account)
    try:
        found: Json = api.get("me")
    finally:
        api.close()
    return found


def _show(screen: Screen, me: Json) -> None:
    screen.fields(me, _FIELDS)
