"""`dcf login`, `logout`, `whoami`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import exits
from cli.account import URL_DEFAULT, Account, read_key, served_at, tidy_url
from cli.client import Api, Json
from cli.device_flow import Prompt, sign_in
from cli.epilog import epilog
from cli.screen import Screen
from cli.session import Session, shown
from cli.trouble import Trouble
from cli.unseen import ask_unseen
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
@click.option(
    "--browser", is_flag=True, help="Sign in as yourself, through a browser on any device, instead of with a key."
)
@click.option("--issuer", help="With whom to sign in, where the service takes several.")
@shown
@click.pass_obj
def login(
    session: Session, url: str | None, key: str | None, key_file: Path | None, browser: bool, issuer: str | None
) -> None:
    """Keep the address of a service and a key to it, once the service takes the key.

    Without --url it is the service that runs here. The key is asked for, unseen, unless an option gives it. With --browser
    you sign in as yourself, where the service takes people; the sign-in is renewed by itself.
    """
    if (browser or issuer) and (key or key_file):
        raise click.UsageError("Give either a key or --browser.")
    file = key_file or session.key_file
    address = tidy_url(url or session.url or session.environment.get("DCF_URL") or _address_here(session, file))
    if browser or issuer:
        account = _through_browser(session.screen, address, issuer)
    else:
        if key is None and file is None:
            key = ask_unseen(f"API key for {address}", instead="dcf login --key-file FILE")
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


def _through_browser(screen: Screen, address: str, issuer: str | None) -> Account:
    """The account of whoever signs in. Raises Trouble."""
    api = Api(Account(address, Secret("")))
    try:
        offered = {item["issuer"]: item["clientId"] for item in api.get("sign-in/issuers")["items"]}
    finally:
        api.close()
    if not offered:
        raise Trouble(f"{address} takes API keys only.", then=f"dcf login --url {address} --key-file FILE")
    chosen = issuer or next(iter(offered))
    if chosen not in offered or (issuer is None and len(offered) > 1):
        raise Trouble(
            "Which of its issuers to sign in with?" if issuer is None else f"{address} does not take {issuer}.",
            then=f"dcf login --issuer ISSUER, one of: {', '.join(offered)}",
            exit_code=exits.USAGE,
        )

    def show(prompt: Prompt) -> None:
        screen.say(f"Open {prompt.complete_url or prompt.url} in a browser, on any device.")
        screen.say(f"Check that it shows, or enter, this code: {prompt.code}", "bold")

    found = sign_in(chosen, offered[chosen], show)
    return Account(address, found.token, renewal=found.renewal)


def _address_here(session: Session, key_file: Path | None) -> str:
    """The service whose first key lies beside what it wrote down, or that of this folder's data directory."""
    folders = [key_file.parent] if key_file else []
    for folder in [*folders, Path(session.environment.get("DCF_DATA_DIR") or ".dcf")]:
        if address := served_at(folder):
            return address
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
