"""Every command there is, and who decides about it. A new one is added to its decider's tuple."""

from __future__ import annotations

from commands.api_key import API_KEYS
from commands.artifact import ARTIFACTS
from commands.command import Command, Decider
from commands.deploy_lock import DEPLOY_LOCKS
from commands.deployment import DEPLOYMENTS
from commands.function import FUNCTIONS
from commands.integration import INTEGRATIONS
from commands.person import PEOPLE
from commands.plan import PLANS
from commands.progress import PROGRESS
from commands.project import PROJECTS
from commands.retention import RETENTION
from commands.runtime import RUNTIME_COMMANDS
from commands.tenant import TENANTS
from commands.webhook import WEBHOOKS

DECIDERS: tuple[Decider, ...] = (
    TENANTS,
    PLANS,
    PEOPLE,
    API_KEYS,
    PROJECTS,
    DEPLOY_LOCKS,
    RUNTIME_COMMANDS,
    ARTIFACTS,
    INTEGRATIONS,
    FUNCTIONS,
    DEPLOYMENTS,
    PROGRESS,
    RETENTION,
    WEBHOOKS,
)
DECIDER_OF: dict[type[Command], Decider] = {command: decider for decider in DECIDERS for command in decider.commands}
