"""What a new service begins with: plans, runtimes, one tenant with its owner, and the two keys that open it."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import UUID, uuid5

import structlog

from api.api_keys import KeyText, new_key, parse_key
from commands.api_key import CreateApiKey
from commands.basis import fold
from commands.command import Command
from commands.execute import Context, execute
from commands.person import RegisterPerson
from commands.plan import DefinePlan
from commands.runtime import AddRuntime, SetDefaultRuntime
from commands.tenant import AddMember, CreateTenant
from domain.api_key import API_KEY
from domain.api_key import ApiKey as State
from domain.event import SYSTEM_TENANT
from domain.plan import Limits
from domain.refusal import Conflict
from domain.runtime import Dates
from eventstore.log import Log
from eventstore.meta import Actor
from eventstore.sealing import Sealing
from process.private_file import sync_directory, write_private

KeyName = Literal["owner", "operator"]

_ACTOR = Actor("system", "first start")
TENANT_ID = uuid5(SYSTEM_TENANT, "first start/tenant")
OWNER_ID = uuid5(SYSTEM_TENANT, "first start/owner")
_TENANT_OF: dict[KeyName, UUID] = {"owner": TENANT_ID, "operator": SYSTEM_TENANT}

_PLANS: tuple[tuple[str, Limits, tuple[str, ...]], ...] = (
    (
        "sandbox",
        Limits(projects=3, functions_per_project=10, members=3, concurrent_deployments=1, queued_deployments=10),
        (),
    ),
    (
        "standard",
        Limits(
            projects=20,
            functions_per_project=50,
            members=20,
            concurrent_deployments=5,
            queued_deployments=100,
            requests_per_minute=3000,
        ),
        (),
    ),
    (
        "enhanced",
        Limits(
            projects=100,
            functions_per_project=200,
            members=100,
            concurrent_deployments=20,
            concurrent_deployments_per_account=10,
            queued_deployments=500,
            requests_per_minute=12_000,
        ),
        ("gke",),
    ),
    (
        "enterprise",
        Limits(
            projects=1000,
            functions_per_project=1000,
            members=1000,
            concurrent_deployments=50,
            concurrent_deployments_per_account=20,
            queued_deployments=2000,
            upload_bytes=5_000_000,
            requests_per_minute=600_000,
            log_retention_days=90,
            releases_kept=20,
            artifact_retention_days=365,
        ),
        ("gke",),
    ),
)
# A service on a machine of one's own has nobody to share with, so its tenant gets the largest plan.
_PLAN = "enterprise"


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


_DEFAULT_RUNTIME = "3.11.0"
_RUNTIMES: tuple[tuple[str, Dates], ...] = (
    (
        "3.9.0",
        Dates(
            released_at=_day(2025, 8, 13),
            deprecation_announced_at=_day(2025, 11, 12),
            block_new_deploys_after=_day(2026, 2, 11),
        ),
    ),
    ("3.10.0", Dates(released_at=_day(2025, 11, 12))),
    ("3.11.0", Dates(released_at=_day(2026, 2, 11))),
)


async def make_first_start(
    log: Log, sealing: Sealing, data_dir: Path, at: datetime, *, with_tenant: bool = True
) -> dict[KeyName, KeyText]:
    """Record what is missing, and answer with the keys that were made now: they are shown to nobody again.

    Without `with_tenant` there is neither a tenant nor an owner's key: where people sign in, operators make tenants.

    Doing it again, after a crash at any point or beside another process, changes nothing and repairs what was left
    half done: each command has an id of its own for ever, and a key is written beside its place before it is recorded.
    """
    for name, command in [*_catalogues(at), *(await _tenant(log, sealing, at) if with_tenant else [])]:
        await _once(log, name, command)
    with _alone(data_dir):
        made = [(name, await _key(log, data_dir, name, at)) for name in _wanted(with_tenant)]
    return {name: key for name, key in made if key is not None}


def announce(keys: dict[KeyName, KeyText], data_dir: Path) -> None:
    """Show the new keys to whoever started the service, once."""
    if not keys:
        return
    lines = [f"  {name + ':':<10}{key.text}   (also in {data_dir / _file_name(name)})" for name, key in keys.items()]
    edge = "=" * 72
    text = "\n".join(["", edge, "Keys of this service. They are shown only this once:", *lines, edge, ""])
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def first_keys_open(log: Log, *, with_tenant: bool) -> list[KeyName]:
    """Which of the first keys can be used by anybody who has seen them, or are about to be made."""
    found: list[tuple[KeyName, State]] = [
        (name, await _recorded(log, tenant_id, _command_id(f"{name} key id"))) for name, tenant_id in _TENANT_OF.items()
    ]
    wanted = _wanted(with_tenant)
    return [name for name, key in found if not key.revoked and (key.exists or name in wanted)]


def _wanted(with_tenant: bool) -> tuple[KeyName, ...]:
    return ("owner", "operator") if with_tenant else ("operator",)


def _catalogues(at: datetime) -> list[tuple[str, Command]]:
    plans = [
        (
            f"plan/{name}",
            DefinePlan(tenant_id=SYSTEM_TENANT, at=at, name=name, limits=limits, entitlements=entitlements),
        )
        for name, limits, entitlements in _PLANS
    ]
    runtimes = [
        (f"runtime/{version}", AddRuntime(tenant_id=SYSTEM_TENANT, at=at, version=version, dates=dates))
        for version, dates in _RUNTIMES
    ]
    default = SetDefaultRuntime(tenant_id=SYSTEM_TENANT, at=at, version=_DEFAULT_RUNTIME)
    return [*plans, *runtimes, ("default runtime", default)]


async def _tenant(log: Log, sealing: Sealing, at: datetime) -> list[tuple[str, Command]]:
    person: list[tuple[str, Command]] = []
    # Later starts need no key to seal with, and so none that a service away from here keeps.
    if await log.find(SYSTEM_TENANT, _command_id("person")) is None:
        name = await sealing.seal(SYSTEM_TENANT, OWNER_ID, "name", "Local owner")
        person = [("person", RegisterPerson(tenant_id=SYSTEM_TENANT, at=at, person_id=OWNER_ID, name=name))]
    return [
        *person,
        ("tenant", CreateTenant(tenant_id=TENANT_ID, at=at, name="default", plan=_PLAN)),
        ("member", AddMember(tenant_id=TENANT_ID, at=at, person_id=OWNER_ID, role="owner")),
    ]


async def _once(log: Log, name: str, command: Command) -> None:
    command_id = _command_id(name)
    if await log.find(command.tenant_id, command_id) is not None:
        return
    context = Context(actor=_ACTOR, command_id=command_id, correlation_id=command_id, record_refusals=False)
    await execute(log, command, context)


async def _key(log: Log, data_dir: Path, name: KeyName, at: datetime) -> KeyText | None:
    """The key, if it was made now; its file stands in its place when this returns."""
    tenant_id, key_id = _TENANT_OF[name], _command_id(f"{name} key id")
    place, pending = data_dir / _file_name(name), data_dir / f"{_file_name(name)}.pending"
    recorded = await _recorded(log, tenant_id, key_id)
    if not recorded.exists:
        key = _pending(pending, key_id) or new_key(key_id)
        write_private(pending, key.text + "\n")
        created = CreateApiKey(
            tenant_id=tenant_id, at=at, key_id=key_id, name=f"first {name} key", secret_hash=key.secret_hash, role=name
        )
        try:
            await _once(log, f"{name} key", created)
        except Conflict:
            structlog.get_logger().info("key_made_elsewhere", key=name)
        recorded = await _recorded(log, tenant_id, key_id)
    return _put_in_place(place, pending, key_id, recorded)


def _put_in_place(place: Path, pending: Path, key_id: UUID, recorded: State) -> KeyText | None:
    """A pending key that is the recorded one gets its name; one that is not was never valid, and goes."""
    key = _pending(pending, key_id)
    if key is None or key.secret_hash != recorded.secret_hash:
        pending.unlink(missing_ok=True)
        return None
    pending.replace(place)
    sync_directory(place.parent)
    return key


async def _recorded(log: Log, tenant_id: UUID, key_id: UUID) -> State:
    state: State = await fold(log, API_KEY, API_KEY.stream(tenant_id, key_id))
    return state


def _pending(path: Path, key_id: UUID) -> KeyText | None:
    try:
        key = parse_key(path.read_text().strip())
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return key if key is not None and key.key_id == key_id else None


def _file_name(name: KeyName) -> str:
    return f"{name}.key"


def _command_id(name: str) -> UUID:
    return uuid5(SYSTEM_TENANT, f"first start/{name}")


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Several processes may start at once on one data directory; the keys are the work of one."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "keys.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
