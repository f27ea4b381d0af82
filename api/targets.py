"""What a request gives for a cloud's target, identity or storage, as the domain's own type."""

from __future__ import annotations

import msgspec

from api.body import invalid
from domain.clouds import LocalTarget, ProviderName, Target
from domain.refusal import FieldError, Invalid


class ProviderNotOffered(Invalid):
    """This service does not deploy to the provider."""

    code = "provider_not_offered"
    remedy = "Choose a provider that GET /api/v1/functions/trigger-types names as supported, such as local."


class _Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This machine takes no fields."""


def target_of(provider: ProviderName, given: dict[str, object]) -> Target:
    """The target in a provider's own terms. Raises ProviderNotOffered, or BodyInvalid naming `target.…`."""
    match provider:
        case "local":
            _converted(given, _Nothing)
            return LocalTarget()
        case _:
            raise ProviderNotOffered(
                f"This service does not deploy to {provider}.",
                errors=(FieldError(field="provider", message="not offered here"),),
            )


def _converted(given: dict[str, object], type: type[msgspec.Struct]) -> msgspec.Struct:
    try:
        return msgspec.convert(given, type)
    except msgspec.ValidationError as error:
        raise invalid(error, within="target") from error
