"""What there is to choose from: runtimes in their groups, trigger types with their settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, get

from api.answer import Answer, encoded
from api.as_of import AS_OF, reached_as_of
from api.operation import Operation
from api.reading import reached
from domain.clouds import ProviderName
from domain.event import SYSTEM_TENANT
from domain.runtime import Dates, SupportPhase, default_of, standing
from domain.trigger import TRIGGER_TYPES, Support
from domain.version import Version
from projections.runtimes import RUNTIMES_LIST, Runtime


class RuntimeEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A Dart SDK version, its dates, and where it stands at the instant of the answer."""

    version: str
    released_at: datetime
    deprecation_announced_at: datetime | None
    block_new_deploys_after: datetime | None
    disable_execution_after: datetime | None
    support_phase: SupportPhase
    deployable: bool
    executable: bool


class RuntimeGroups(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first in each group; `default` is what new drafts are offered."""

    supported: list[RuntimeEntry]
    deprecating: list[RuntimeEntry]
    disabled: list[RuntimeEntry]
    default: str


class TriggerEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`settingsSchema` is a JSON Schema; `providers` says where the type is supported."""

    type: str
    title: str
    settings_schema: dict[str, Any]
    providers: dict[ProviderName, Support]


class TriggerTypes(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The catalogue of triggers."""

    trigger_types: list[TriggerEntry]


def _runtimes(name: str, summary: str) -> Operation:
    return Operation(
        name=name,
        permission="catalogue:read",
        summary=summary,
        tag="Catalogues",
        answers={200: RuntimeGroups},
        query=(AS_OF,),
    )


@get("/runtimes", opt=_runtimes("listRuntimes", "List the runtimes by phase").as_opt())
async def list_runtimes(request: Request[Any, Any, Any]) -> Answer:
    return await _groups(request)


@get("/runtime-versions", opt=_runtimes("listRuntimeVersions", "The same as GET /runtimes").as_opt())
async def list_runtime_versions(request: Request[Any, Any, Any]) -> Answer:
    return await _groups(request)


_TRIGGERS = Operation(
    name="listTriggerTypes",
    permission="catalogue:read",
    summary="List the trigger types with their settings and support on each provider",
    tag="Catalogues",
    answers={200: TriggerTypes},
)


@get("/functions/trigger-types", opt=_TRIGGERS.as_opt())
async def list_trigger_types(request: Request[Any, Any, Any]) -> Answer:
    await reached(request)
    return Answer(_TRIGGER_TYPES)


async def _groups(request: Request[Any, Any, Any]) -> Answer:
    services = await reached_as_of(request)
    found = await services.reader.rows(RUNTIMES_LIST, SYSTEM_TENANT)
    return Answer(encoded(grouped([item.row for item in found], services.clock())))


def grouped(rows: list[Runtime], at: datetime) -> RuntimeGroups:
    """The catalogue as it stands at an instant."""
    phases: dict[SupportPhase, list[RuntimeEntry]] = {"supported": [], "deprecating": [], "disabled": []}
    dated = [(row.version, row.dates) for row in rows if row.dates is not None]
    for version, dates in sorted(dated, key=lambda pair: Version.parse(pair[0]), reverse=True):
        entry = runtime_entry(version, dates, at)
        phases[entry.support_phase].append(entry)
    chosen = next((row.version for row in rows if row.dates is None), "")
    return RuntimeGroups(**phases, default=default_of(chosen, dict(dated), at))


def runtime_entry(version: str, dates: Dates, at: datetime) -> RuntimeEntry:
    """The runtime as it stands at an instant."""
    now = standing(dates, at)
    return RuntimeEntry(
        version=version,
        released_at=dates.released_at,
        deprecation_announced_at=dates.deprecation_announced_at,
        block_new_deploys_after=dates.block_new_deploys_after,
        disable_execution_after=dates.disable_execution_after,
        support_phase=now.phase,
        deployable=now.deployable,
        executable=now.executable,
    )


def _schema(settings: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of the settings by itself, without a reference to follow."""
    (schema,), components = msgspec.json.schema_components([settings], ref_template="{name}")
    inlined: dict[str, Any] = components[schema["$ref"]]
    return inlined


TRIGGERS = TriggerTypes(
    trigger_types=[
        TriggerEntry(
            type=entry.name,
            title=entry.title,
            settings_schema=_schema(entry.settings),
            providers=entry.providers,
        )
        for entry in TRIGGER_TYPES
    ]
)
_TRIGGER_TYPES = encoded(TRIGGERS)

CATALOGUE_ROUTES = (list_runtimes, list_runtime_versions, list_trigger_types)
