"""Whom and what an audit command asks about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import click

from cli.client import Api
from cli.deployment_names import deployment_of
from cli.lookup import function_of, project_of
from cli.operator_api import operator_api
from cli.session import Session

F = TypeVar("F", bound=Callable[..., Any])


def entity_argument(command: F) -> F:
    """What a command is about, for `entity_id`."""
    return click.argument("entity", metavar="ID|FUNCTION[#NO]")(command)


def tenant_option(command: F) -> F:
    """The option `--tenant`, for `asking`."""
    return click.option(
        "--tenant", type=click.UUID, help="For operators: the tenant that is asked about, with the operator's key."
    )(command)


@contextmanager
def asking(session: Session, tenant: UUID | None, *, as_operator: bool = False) -> Iterator[Api]:
    """The service, as the operator when it is about another's tenant."""
    if tenant is None and not as_operator:
        yield session.api
        return
    with operator_api(session) as api:
        yield api


def entity_id(session: Session, wanted: str, project: str | None) -> str:
    """The id of anything: itself, a function's by its name, a deployment's by its function and number. Raises Trouble."""
    try:
        return str(UUID(wanted))
    except ValueError:
        pass
    if "#" in wanted:
        return str(deployment_of(session, project, wanted)["deploymentId"])
    within = project_of(session, project, archived=True)
    return str(function_of(session.api, within, wanted, archived=True)["functionId"])
