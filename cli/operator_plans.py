"""`dcf operators plans`: what tenants may have."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import click

from cli import exits
from cli.client import Json
from cli.completions import plan_names
from cli.epilog import epilog
from cli.operator_api import operator_api
from cli.session import Session, shown
from cli.trouble import Trouble

_COLUMNS = {
    "name": "name",
    "projects": "limits.projects",
    "functions": "limits.functionsPerProject",
    "members": "limits.members",
    "at a time": "limits.concurrentDeployments",
    "in an account": "limits.concurrentDeploymentsPerAccount",
    "queued": "limits.queuedDeployments",
    "upload": "limits.uploadBytes",
    "a minute": "limits.requestsPerMinute",
    "log days": "limits.logRetentionDays",
    "releases": "limits.releasesKept",
    "file days": "limits.artifactRetentionDays",
    "webhooks": "limits.webhooksPerProject",
    "entitlements": "entitlements",
}
_FIELDS = {
    "name": "name",
    "projects": "limits.projects",
    "functionsPerProject": "limits.functionsPerProject",
    "members": "limits.members",
    "concurrentDeployments": "limits.concurrentDeployments",
    "concurrentDeploymentsPerAccount": "limits.concurrentDeploymentsPerAccount",
    "queuedDeployments": "limits.queuedDeployments",
    "uploadBytes": "limits.uploadBytes",
    "requestsPerMinute": "limits.requestsPerMinute",
    "logRetentionDays": "limits.logRetentionDays",
    "releasesKept": "limits.releasesKept",
    "artifactRetentionDays": "limits.artifactRetentionDays",
    "webhooksPerProject": "limits.webhooksPerProject",
    "entitlements": "entitlements",
}
_REQUIRED = ("projects", "functionsPerProject", "members", "concurrentDeployments", "queuedDeployments")

_name = click.argument("name", shell_complete=plan_names)
_limits = click.option("--set", "limits", multiple=True, metavar="LIMIT=NUMBER", help="A limit; repeat for more.")
_entitle = click.option("--entitle", multiple=True, metavar="TARGET", help="A runtime target it allows, such as gke.")


@click.group(
    epilog=epilog("dcf operators plans list", "dcf operators plans change sandbox --set projects=5 --entitle gke")
)
def plans() -> None:
    """Plans: limits and entitlements. A change holds at once for every tenant that has the plan."""


@plans.command("list", epilog=epilog("dcf operators plans list", "dcf operators plans list --json"))
@shown
@click.pass_obj
def list_(session: Session) -> None:
    """List the plans."""
    with operator_api(session) as api:
        session.screen.rows(api.get("operations/plans")["items"], _COLUMNS, empty="No plans.")


@plans.command(epilog=epilog("dcf operators plans show sandbox"))
@_name
@shown
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Show a plan, its limits under the names that --set takes."""
    with operator_api(session) as api:
        session.screen.fields(api.get(_path(name)), _FIELDS)


@plans.command(
    epilog=epilog(
        "dcf operators plans define gold --set projects=10 --set functionsPerProject=50 --set members=10 \\",
        "    --set concurrentDeployments=3 --set queuedDeployments=50",
    )
)
@click.argument("name")
@_limits
@_entitle
@shown
@click.pass_obj
def define(session: Session, name: str, limits: tuple[str, ...], entitle: tuple[str, ...]) -> None:
    """Define a plan, or define it anew: what is left out gets the service's default."""
    given = _numbers(limits)
    if missing := [limit for limit in _REQUIRED if limit not in given]:
        raise Trouble(
            f"A plan says {', '.join(missing)}.",
            then=" ".join(f"--set {limit}=NUMBER" for limit in missing),
            exit_code=exits.USAGE,
        )
    with operator_api(session) as api:
        defined = api.write("PUT", _path(name), {"limits": given, "entitlements": list(entitle)})
        session.screen.fields(defined, _FIELDS)


@plans.command(epilog=epilog("dcf operators plans change sandbox --set projects=5 --entitle gke --withdraw aws"))
@_name
@_limits
@_entitle
@click.option("--withdraw", multiple=True, metavar="TARGET", help="A runtime target it does not allow any more.")
@shown
@click.pass_obj
def change(
    session: Session, name: str, limits: tuple[str, ...], entitle: tuple[str, ...], withdraw: tuple[str, ...]
) -> None:
    """Change the named limits of a plan, and no others."""
    if not (limits or entitle or withdraw):
        raise Trouble("Nothing to change was named.", then="dcf operators plans change --help", exit_code=exits.USAGE)
    given = _numbers(limits)
    with operator_api(session) as api:
        plan, etag = api.entity(_path(name))
        kept = [target for target in plan["entitlements"] if target not in withdraw]
        added = [target for target in entitle if target not in kept]
        body: Json = {"limits": {**plan["limits"], **given}, "entitlements": kept + added}
        session.screen.fields(api.write("PUT", _path(name), body, if_match=etag), _FIELDS)


def _path(name: str) -> str:
    return f"operations/plans/{quote(name, safe='')}"


def _numbers(given: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value.isdecimal():
            raise Trouble(f"--set takes LIMIT=NUMBER, not {text!r}.", exit_code=exits.USAGE)
        found[name] = int(value)
    return found
