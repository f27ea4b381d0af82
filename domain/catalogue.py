"""Every aggregate there is. A new one is added here, and nowhere else does anything look for them."""

from __future__ import annotations

from typing import Any

from domain.api_key import API_KEY
from domain.artifact import ARTIFACT
from domain.deployment import DEPLOYMENT
from domain.event import Aggregate
from domain.function import FUNCTION
from domain.integration import INTEGRATION
from domain.person import PERSON
from domain.plan import PLAN
from domain.project import PROJECT
from domain.refused import REFUSED
from domain.runtime import RUNTIMES
from domain.tenant import TENANT
from domain.webhook import WEBHOOK

AGGREGATES: tuple[Aggregate[Any], ...] = (
    TENANT,
    PLAN,
    PERSON,
    API_KEY,
    PROJECT,
    RUNTIMES,
    ARTIFACT,
    INTEGRATION,
    FUNCTION,
    DEPLOYMENT,
    WEBHOOK,
    REFUSED,
)
