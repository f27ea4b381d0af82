"""`dcf operators runtimes`: the Dart SDK versions on offer, and when each of their phases begins."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import quote

import click

from cli import exits
from cli.catalogues import RUNTIME_COLUMNS, show_runtimes
from cli.client import Json
from cli.completions import runtime_versions
from cli.epilog import epilog
from cli.operator_api import operator_api
from cli.session import Session, shown
from cli.trouble import Trouble

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
# What takes a date back.
_NONE = "none"

_FUNCTIONS = {
    "function": "name",
    "id": "functionId",
    "tenant": "tenantId",
    "status": "status",
    "active deployment": "activeDeploymentId",
}
_DEPLOYMENTS = {
    "active deployment": "deploymentId",
    "tenant": "tenantId",
    "function": "functionId",
    "on": "provider",
    "queued": "queuedAt",
    "url": "url",
}

_COUNTS = {"tenant": "tenantId", "functions": "functions", "active deployments": "activeDeployments"}
_DAYS_LEFT = {
    "phase": "supportPhase",
    "days until deprecating": "daysUntilDeprecating",
    "days until no deploys": "daysUntilBlocked",
    "days until stopped": "daysUntilDisabled",
    "functions": "functions",
    "active deployments": "activeDeployments",
    "tenants": "tenantCount",
}
_DATE_FIELDS = {
    "released": "releasedAt",
    "announced": "deprecationAnnouncedAt",
    "no_deploys_after": "blockNewDeploysAfter",
    "stops_after": "disableExecutionAfter",
}

_version = click.argument("version", metavar="VERSION", shell_complete=runtime_versions)


@click.group(
    epilog=epilog(
        "dcf operators runtimes add 3.12.0 --released 2026-05-13",
        "dcf operators runtimes impact 3.10.0",
        "dcf operators runtimes dates 3.10.0 --announced 2026-11-12 --no-deploys-after 2027-02-11",
        "dcf operators runtimes default 3.12.0",
    )
)
def runtimes() -> None:
    """Runtimes: Dart SDK versions. The phase of each follows from its dates."""


@runtimes.command("list", epilog=epilog("dcf operators runtimes list", "dcf operators runtimes list --json"))
@shown
@click.pass_obj
def list_(session: Session) -> None:
    """List the runtimes with their dates."""
    with operator_api(session) as api:
        show_runtimes(session, api.get("runtimes"))


@runtimes.command(epilog=epilog("dcf operators runtimes add 3.12.0 --released 2026-05-13"))
@click.argument("version")
@click.option("--released", metavar="DATE", required=True, help="2026-05-13, or a time as 2026-05-13T08:00:00Z.")
@shown
@click.pass_obj
def add(session: Session, version: str, released: str) -> None:
    """Add a runtime."""
    body = {"version": version, "releasedAt": _instant(released, "--released")}
    with operator_api(session) as api:
        session.screen.fields(api.write("POST", "operations/runtimes", body), RUNTIME_COLUMNS)


@runtimes.command(
    epilog=epilog(
        "dcf operators runtimes dates 3.10.0 --announced 2026-11-12 --no-deploys-after 2027-02-11",
        "dcf operators runtimes dates 3.10.0 --no-deploys-after none     takes it back",
    )
)
@_version
@click.option("--released", metavar="DATE", help="When it came out.")
@click.option("--announced", metavar="DATE", help="From then on no new draft may choose it.")
@click.option("--no-deploys-after", metavar="DATE", help="From then on it cannot be deployed.")
@click.option("--stops-after", metavar="DATE", help="From then on what runs on it may be stopped.")
@shown
@click.pass_obj
def dates(session: Session, /, version: str, **given: Any) -> None:
    """Move the dates of a runtime. A date left out stays; `none` takes one back."""
    body: Json = {
        _DATE_FIELDS[name]: None if text == _NONE else _instant(text, _option(name))
        for name, text in given.items()
        if text
    }
    if not body:
        raise Trouble("No date was named.", then="dcf operators runtimes dates --help", exit_code=exits.USAGE)
    with operator_api(session) as api:
        moved = api.write("PATCH", f"operations/runtimes/{quote(version, safe='')}", body)
        session.screen.fields(moved, RUNTIME_COLUMNS)


@runtimes.command(
    epilog=epilog(
        "dcf operators runtimes impact 3.10.0",
        "dcf operators runtimes impact 3.10.0 --no-deploys-after 2027-02-11     as if it were set",
        "dcf operators runtimes impact 3.10.0 --json",
    )
)
@_version
@click.option("--announced", metavar="DATE", help="As if no new draft could choose it from then on.")
@click.option("--no-deploys-after", metavar="DATE", help="As if it could not be deployed from then on.")
@click.option("--stops-after", metavar="DATE", help="As if what runs on it might be stopped from then on.")
@shown
@click.pass_obj
def impact(session: Session, /, version: str, **given: Any) -> None:
    """Show what moving a runtime's dates would touch, in every tenant: look here before you do. Nothing is set."""
    path = f"operations/runtimes/{quote(version, safe='')}"
    supposed = {_DATE_FIELDS[name]: _instant(text, _option(name)) for name, text in given.items() if text}
    with operator_api(session) as api:
        counts = api.get(f"{path}/impact", **supposed)
        functions, deployments = api.items(f"{path}/functions"), api.items(f"{path}/deployments")
    if session.as_json:
        session.screen.result({"counts": counts, "functions": functions, "deployments": deployments})
        return
    session.screen.fields(counts, _DAYS_LEFT)
    if counts["tenants"]:
        session.screen.rows(counts["tenants"], _COUNTS, empty="")
    session.screen.rows(functions, _FUNCTIONS, empty=f"No function names {version}.")
    session.screen.rows(deployments, _DEPLOYMENTS, empty=f"Nothing that runs was released on {version}.")


@runtimes.command(epilog=epilog("dcf operators runtimes default 3.12.0"))
@_version
@shown
@click.pass_obj
def default(session: Session, version: str) -> None:
    """Choose the runtime that new drafts are offered first."""
    with operator_api(session) as api:
        chosen = api.write("PUT", "operations/default-runtime", {"version": version})
        session.screen.fields(chosen, RUNTIME_COLUMNS)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _instant(text: str, option: str) -> str:
    """A day is its first instant in UTC."""
    try:
        at = datetime.fromisoformat(f"{text}T00:00:00+00:00" if _DAY.fullmatch(text) else text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Trouble(
            f"{option} takes a day or a time with its zone, not {text!r}.",
            then="type it like 2026-05-13 or 2026-05-13T08:00:00Z",
            exit_code=exits.USAGE,
        )
    return at.isoformat().replace("+00:00", "Z")
