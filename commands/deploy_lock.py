"""Commands about a project's deploy lock: while it lasts, nothing new is deployed."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from domain.event import Decision
from domain.project import (
    PROJECT,
    DeploymentsLocked,
    DeploymentsUnlocked,
    LockedBy,
    lock_end,
    lock_of,
    require_open,
)


class LockDeployments(Command, frozen=True, kw_only=True, tag="LockDeployments"):
    """Without `expires_at` it ends after as long as any lock may last."""

    project_id: UUID
    reason: str
    locked_by: LockedBy
    expires_at: datetime | None = None


class UnlockDeployments(Command, frozen=True, kw_only=True, tag="UnlockDeployments"):
    project_id: UUID


DeployLockCommand = LockDeployments | UnlockDeployments


def reads(command: DeployLockCommand) -> Reads:
    yield PROJECT, PROJECT.stream(command.tenant_id, command.project_id)


def decide(command: DeployLockCommand, states: States) -> Decision:
    stream = PROJECT.stream(command.tenant_id, command.project_id)
    lock = lock_of(require_open(states.at(PROJECT, stream)), command.at)
    match command:
        case LockDeployments():
            expires_at = lock_end(command.expires_at, command.at)
            if lock is not None and (lock.reason, lock.expires_at) == (command.reason, expires_at):
                return Decision()  # It is locked just so already.
            locked = DeploymentsLocked(reason=command.reason, expires_at=expires_at, locked_by=command.locked_by)
            return Decision(facts=facts(stream, locked))
        case UnlockDeployments():
            return Decision(facts=facts(stream, DeploymentsUnlocked())) if lock is not None else Decision()
        case _:
            assert_never(command)


DEPLOY_LOCKS = Decider(commands=(LockDeployments, UnlockDeployments), reads=reads, decide=decide)
