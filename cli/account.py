"""Whom `dcf` speaks to and with which key: from options, the environment, or the file that `dcf login` keeps."""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from cli import exits
from cli.device_flow import Renewal, has_ended, renewed
from cli.trouble import Trouble
from process import ports
from process.private_file import write_private
from process.secret import Secret

URL_DEFAULT = "http://127.0.0.1:8000"
KEY_BYTES_MAX = 4096

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Account(msgspec.Struct, frozen=True):
    """A service and the key to it. `url` has no slash at its end."""

    url: str
    key: Secret
    # The id of the tenant to act in, for somebody who belongs to several.
    tenant: str = ""
    # How the key, an ID token, is renewed; None: it is not.
    renewal: Renewal | None = None

    @property
    def is_local(self) -> bool:
        return urlsplit(self.url).hostname in _LOOPBACK

    @property
    def is_open(self) -> bool:
        """The key would travel where others can read it."""
        return self.url.startswith("http://") and not self.is_local


class NotSignedIn(Trouble):
    """There is no key to use."""

    def __init__(self, *, then: str) -> None:
        super().__init__("You are not signed in.", then=then, exit_code=exits.NOT_ALLOWED)


class _Kept(msgspec.Struct, frozen=True):
    url: str
    key: str
    renewal: Renewal | None = None


class Logins:
    """The one login that is kept, in a file that only its user may read."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".config")
        self.path = Path(home) / "dcf" / "login.json"

    def save(self, account: Account) -> None:
        """Keep it in place of the one before."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(
            self.path, msgspec.json.encode(_Kept(account.url, account.key.reveal(), account.renewal)).decode() + "\n"
        )

    def load(self) -> Account | None:
        """The login, None when there is none. Raises Trouble for a file that others could read, or that is broken."""
        try:
            mode = self.path.stat().st_mode
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise Trouble(f"{self.path} cannot be read: {problem.strerror}.", then="dcf login") from problem
        if stat.S_IMODE(mode) & 0o077:
            raise Trouble(f"{self.path} holds a key and can be read by others.", then=f"chmod 600 {self.path}")
        try:
            kept = msgspec.json.decode(content, type=_Kept)
        except msgspec.DecodeError as problem:
            raise Trouble(f"{self.path} is broken.", then="dcf login, which writes it anew") from problem
        return Account(kept.url, Secret(kept.key), renewal=kept.renewal)

    def forget(self) -> bool:
        """Remove the login; say whether there was one."""
        existed = self.path.exists()
        self.path.unlink(missing_ok=True)
        return existed


def chosen(logins: Logins, environment: Mapping[str, str], *, url: str | None, key_file: Path | None) -> Account:
    """The account of this command. A key that was kept for one service is never sent to another.

    Raises Trouble when there is none.
    """
    named = tidy_url(url) if url else None
    if key_file is not None:
        return Account(named or served_at(key_file.parent) or _kept_url(logins) or URL_DEFAULT, read_key(key_file))
    if key := environment.get("DCF_KEY", "").strip():
        return Account(named or _kept_url(logins) or URL_DEFAULT, Secret(key))
    kept = logins.load()
    if kept is None:
        raise NotSignedIn(then=_how_to_sign_in(named, environment))
    if named is not None and named != kept.url:
        raise Trouble(
            f"You are signed in to {kept.url}, not to {named}.",
            then=f"dcf login --url {named}, or give a key for it with --key-file or DCF_KEY",
            exit_code=exits.NOT_ALLOWED,
        )
    return _fresh(kept, logins)


def served_at(data_dir: Path) -> str | None:
    """The service on this machine that wrote its ports down in a folder, as its data directory; None: there is none.

    A first key that lies there is that service's, whoever one is signed in to.
    """
    port = ports.recorded(data_dir).get("api") if data_dir.is_dir() else None
    return f"http://127.0.0.1:{port}" if port else None


def tidy_url(text: str) -> str:
    """The address of a service as it is kept. Raises Trouble unless it is one."""
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise Trouble(
            f"{text!r} is not the address of a service.",
            then=f"give one like {URL_DEFAULT} or https://functions.example.com",
            exit_code=exits.USAGE,
        )
    return text.strip().rstrip("/").removesuffix("/api/v1")


def read_key(path: Path) -> Secret:
    """The key in a file's first line. Raises Trouble when there is none."""
    try:
        with path.open("rb") as file:
            text = file.read(KEY_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not text"
        raise Trouble(f"The key in {path} cannot be read: {why}.", exit_code=exits.USAGE) from problem
    if not text:
        raise Trouble(f"{path} is empty.", exit_code=exits.USAGE)
    return Secret(text.splitlines()[0].strip())


def _fresh(account: Account, logins: Logins) -> Account:
    """The account with a token that is still good, which is kept. Raises Trouble when none is given any more."""
    if account.renewal is None or not has_ended(account.key, time.time()):
        return account
    again = renewed(account.renewal)
    fresh = msgspec.structs.replace(account, key=again.token, renewal=again.renewal)
    logins.save(fresh)
    return fresh


def _kept_url(logins: Logins) -> str | None:
    kept = logins.load()
    return kept.url if kept else None


def _how_to_sign_in(url: str | None, environment: Mapping[str, str]) -> str:
    data_dir = Path(environment.get("DCF_DATA_DIR") or ".dcf")
    owner_key = data_dir / "owner.key"
    if url is None and owner_key.exists():
        url = served_at(data_dir)
    option = f" --url {url}" if url and url != URL_DEFAULT else ""
    if owner_key.exists():
        return f"dcf login{option} --key-file {owner_key}"
    return f"dcf login{option}, or set DCF_KEY"
