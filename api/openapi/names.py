"""What enumerations and unions are called in the description: a type alias has no name of its own when the program runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from api.audit import Order
from api.audit_tree import Withheld
from api.deployments import DeploymentRequest
from api.invitations import InvitationStatus
from api.principal import Permission, PrincipalRole
from api.targets import GcpTargetRequest
from api.webhooks import WebhookSwitch
from domain.api_key import KeyRole
from domain.clouds import GcpRuntimeTarget, Identity, ProviderName, Storage, Target
from domain.deployment import DeploymentStatus, Origin
from domain.function import FunctionStatus
from domain.integration import CheckStatus, IntegrationStatus, StepStatus
from domain.release import Access, ArtifactKind
from domain.release_diff import Needs
from domain.runtime import SupportPhase
from domain.tenant import Role
from domain.trigger import EventSourceKind, Support
from domain.webhook import WebhookStatus
from eventstore.meta import ActorType
from eventstore.ticks import TickStatus
from eventstore.webhook_deliveries import DeliveryStatus
from projections.projects import ProjectStatus
from projections.rebuild.jobs import Purpose, Step

ENUMERATIONS: dict[str, Any] = {
    "Access": Access,
    "ActorType": ActorType,
    "ArtifactKind": ArtifactKind,
    "CheckStatus": CheckStatus,
    "DeploymentOrigin": Origin,
    "DeploymentStatus": DeploymentStatus,
    "EventSourceKind": EventSourceKind,
    "EventOrder": Order,
    "FunctionStatus": FunctionStatus,
    "IntegrationStatus": IntegrationStatus,
    "InvitationStatus": InvitationStatus,
    "KeyRole": KeyRole,
    "Needs": Needs,
    "Permission": Permission,
    "PrincipalRole": PrincipalRole,
    "ProjectionPurpose": Purpose,
    "ProjectionStep": Step,
    "ProjectStatus": ProjectStatus,
    "ProviderName": ProviderName,
    "Role": Role,
    "RuntimeTarget": GcpRuntimeTarget,
    "StepStatus": StepStatus,
    "SupportPhase": SupportPhase,
    "TickStatus": TickStatus,
    "TriggerSupport": Support,
    "WebhookDeliveryStatus": DeliveryStatus,
    "WebhookStatus": WebhookStatus,
    "WebhookSwitch": WebhookSwitch,
    "Withheld": Withheld,
}

# Each is told apart by the field its members are tagged with.
UNIONS: dict[str, Any] = {
    "DeploymentRequest": DeploymentRequest,
    "GcpTargetRequest": GcpTargetRequest,
    "Identity": Identity,
    "Storage": Storage,
    "Target": Target,
}


def values_of(enumeration: Any) -> Iterator[str]:
    """The values of a literal type, or of a union of such."""
    for part in get_args(enumeration):
        if isinstance(part, str):
            yield part
        else:
            yield from values_of(part)
