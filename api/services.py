"""What handlers work with: everything they need, given once at composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from litestar import Request

from api.auth import Authenticator
from api.rate_limits import RateLimits
from api.refusal_cap import RefusalCap
from api.tokens import Tokens
from domain.clouds import ProviderName
from eventstore.build_logs import BuildLogs
from eventstore.contents import Contents
from eventstore.instants import Instants
from eventstore.key_uses import KeyUses
from eventstore.log import Log
from eventstore.sealing import Sealing
from eventstore.secret_values import SecretVault
from eventstore.tenant_events import TenantEvents
from eventstore.ticks import Ticks
from eventstore.tree.tree import Tree
from eventstore.uploads import Uploads
from eventstore.webhook_deliveries import Deliveries
from process.key_ring import KeyRing
from process.outbound import Reachable
from projections.reader import Reader
from projections.upkeep import Upkeep
from providers.issuer import Issuer, ProjectedToken
from providers.provider import Provider

_KEY = "services"


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The ports the API stands on, and its limits. `providers` are those this service can deploy to."""

    log: Log
    instants: Instants
    tenant_events: TenantEvents
    tree: Tree
    reader: Reader
    upkeep: Upkeep
    contents: Contents
    uploads: Uploads
    build_logs: BuildLogs
    ticks: Ticks
    deliveries: Deliveries
    key_uses: KeyUses
    sealing: Sealing
    secrets: SecretVault
    # The tenants' keys, where a key service wraps them.
    ring: KeyRing | None
    # Where webhooks may be sent to.
    reachable: Reachable
    providers: Mapping[ProviderName, Provider]
    token_source: Issuer | ProjectedToken
    # Where clouds and browsers reach this API; tokens may have another issuer, a cluster's.
    public_url: Callable[[], str]
    authenticator: Authenticator
    tokens: Tokens
    refusal_cap: RefusalCap
    rate_limits: RateLimits
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]
    request_bytes_max: int
    upload_bytes_max: int
    wait_seconds_max: float

    def as_state(self) -> dict[str, Any]:
        """The application state in which `services_of` finds them."""
        return {_KEY: self, "authenticator": self.authenticator, "rate_limits": self.rate_limits}


def services_of(request: Request[Any, Any, Any]) -> Services:
    """The services of the application a request came to."""
    return cast("Services", request.app.state[_KEY])
