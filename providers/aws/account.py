"""The customer's AWS account as one of our projects may use it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.clouds import AwsIdentity, AwsStorage, AwsTarget
from domain.placement import TargetNotTaken, check_target
from providers.aws.errors import Answered, told
from providers.aws.identity import Roles
from providers.aws.wire import Wire, acting
from providers.provider import Order, ProviderRefused


class Account:
    """Calls made as the role of one project's integration."""

    def __init__(self, wire: Wire, roles: Roles, tenant_id: UUID, project_id: UUID, identity: AwsIdentity) -> None:
        self.wire, self.roles, self.identity = wire, roles, identity
        self.whose = (tenant_id, project_id, identity)

    async def call(self, service: str, call: str, *, region: str = "", **parameters: Any) -> Any:
        """The answer to one call. Raises Answered, ProviderRefused, ProviderBusy or ProviderUnreachable."""
        try:
            return await self._called(service, call, region, **parameters)
        except Answered as error:
            if not error.says_nothing:
                raise
        # What answers a HEAD has no words: only new keys tell whether the old ones were over.
        self.roles.forget(*self.whose)
        return await self._called(service, call, region, **parameters)

    async def _called(self, service: str, call: str, region: str, **parameters: Any) -> Any:
        with acting(await self.roles.keys(*self.whose)):
            try:
                return await self.wire.call(service, region or self.identity.region, call, **parameters)
            except Answered as error:
                if error.are_credentials_over or error.is_unsigned:
                    self.roles.forget(*self.whose)
                raise

    async def found(self, service: str, call: str, *, region: str = "", **parameters: Any) -> Any:
        """The answer to one call, or None when there is no such thing."""
        try:
            return await self.call(service, call, region=region, **parameters)
        except Answered as error:
            if error.is_missing:
                return None
            raise


class told_apart:  # noqa: N801 - read as a phrase: async with told_apart(identity)
    """Turns Amazon's errors into what the port of the clouds declares."""

    def __init__(self, identity: AwsIdentity) -> None:
        self._identity = identity

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Answered):
            raise told(error, self._identity) from error


def identity_of(order: Order) -> AwsIdentity:
    """The order's identity. Raises ProviderRefused when the project is not connected to AWS."""
    if not isinstance(order.identity, AwsIdentity):
        raise ProviderRefused(
            "provider_not_connected", "The project is not connected to AWS.", "Connect and verify it again."
        )
    return order.identity


def storage_of(order: Order) -> AwsStorage:
    """The bucket the order stages in. Raises ProviderRefused when there is none."""
    if not isinstance(order.storage, AwsStorage):
        raise ProviderRefused(
            "storage_not_configured", "The project has no bucket.", "Check and save one: POST …/aws/bucket/check."
        )
    return order.storage


def target_of(order: Order) -> AwsTarget:
    """The order's target. Raises ProviderRefused for what cannot be deployed to."""
    target = order.release.target
    if not isinstance(target, AwsTarget):
        raise ProviderRefused("provider_mismatch", "The target is not one of AWS.", "Give the fields of aws.")
    return target


def check_places(order: Order) -> None:
    """Raises ProviderRefused unless target, identity and bucket go together."""
    try:
        check_target(target_of(order), identity_of(order), storage_of(order))
    except TargetNotTaken as refusal:  # Of a release that was queued before the project was connected anew.
        raise ProviderRefused(refusal.code, refusal.detail, refusal.remedy) from refusal
