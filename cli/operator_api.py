"""The service as its operator speaks to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cli import exits
from cli.account import Account, read_key, served_at
from cli.client import Api, Refused
from cli.session import Session
from process.settings import SettingInvalid, Settings

KEY_FILE = "operator.key"


@contextmanager
def operator_api(session: Session) -> Iterator[Api]:
    """The service under the operator's key. What is not allowed says which key it takes. Raises Trouble."""
    local = None if session.key_file or session.environment.get("DCF_KEY") or _url(session) else _local(session)
    api = session.api if local is None else Api(local)
    if local is not None:
        session.screen.say(f"{local.url}, by the key in its data directory", "dim")
    try:
        yield api
    except Refused as refusal:
        if refusal.exit_code == exits.NOT_ALLOWED and refusal.status == 403:
            refusal.then = f"give the operator's key: dcf --key-file {KEY_FILE} operators …"
        raise
    finally:
        if local is not None:
            api.close()


def _url(session: Session) -> str | None:
    return session.url or session.environment.get("DCF_URL")


def _local(session: Session) -> Account | None:
    """The service that runs here, with the key it made for its operator."""
    try:
        settings = Settings.from_environment(session.environment)
    except SettingInvalid:
        return None
    key, address = settings.data_dir / KEY_FILE, served_at(settings.data_dir)
    return Account(address, read_key(key)) if address and key.exists() else None
