"""One run of `dcf`: its options and environment, and what commands get from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from cli.account import Account, Logins, chosen
from cli.client import Api
from cli.screen import Screen

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """Made once, in `cli.__main__`; everything is looked up when a command first asks for it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.url: str | None = None
        self.key_file: Path | None = None
        self.tenant: str | None = None
        self.as_json = False

    @cached_property
    def screen(self) -> Screen:
        return Screen(self.environment, as_json=self.as_json)

    @cached_property
    def logins(self) -> Logins:
        return Logins(self.environment)

    @cached_property
    def account(self) -> Account:
        """Raises Trouble when nobody is signed in."""
        account = chosen(
            self.logins, self.environment, url=self.url or self.environment.get("DCF_URL"), key_file=self.key_file
        )
        if account.is_open:
            self.screen.warn(f"{account.url} is not encrypted: whoever is on the way can read your key.")
        tenant = self.tenant or self.environment.get("DCF_TENANT", "").strip()
        return msgspec.structs.replace(account, tenant=tenant)

    @cached_property
    def api(self) -> Api:
        """Raises Trouble when nobody is signed in."""
        return Api(self.account)

    def close(self) -> None:
        """End what was begun."""
        if "screen" in self.__dict__:
            self.screen.clear()
        if "api" in self.__dict__:
            self.api.close()


def shown(command: F) -> F:
    """The options of a command that shows something: `-o table`, `-o json`, `--json`."""

    def choose(context: click.Context, _parameter: click.Parameter, value: object) -> None:
        if value in ("json", True):
            session = context.find_object(Session)
            assert session is not None, "main gives every command its session"
            session.as_json = True

    as_json = click.option(
        "--json", is_flag=True, expose_value=False, callback=choose, help="Show JSON; the same as -o json."
    )
    output = click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        expose_value=False,
        callback=choose,
        help="How to show the result (table).",
    )
    return output(as_json(command))
