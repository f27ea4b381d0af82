"""Targets, identity fields and storage of each cloud."""

from __future__ import annotations

from typing import Literal

import msgspec

from domain.refusal import FieldError, Invalid

ProviderName = Literal["local", "aws", "azure", "gcp"]
PROVIDERS: tuple[ProviderName, ...] = ("local", "aws", "azure", "gcp")


class LocalTarget(msgspec.Struct, frozen=True, kw_only=True, tag_field="provider", tag="local", rename="camel"):
    """This machine."""


class LocalIdentity(msgspec.Struct, frozen=True, kw_only=True, tag_field="provider", tag="local", rename="camel"):
    """This machine needs no identity of its own."""


class LocalStorage(msgspec.Struct, frozen=True, kw_only=True, tag_field="provider", tag="local", rename="camel"):
    """The service's own content-addressed store."""


# Each becomes a union, told apart by `provider`, as soon as a second cloud has one.
Target = LocalTarget
Identity = LocalIdentity
Storage = LocalStorage


class ProviderMismatch(Invalid):
    """The target, identity or storage is that of another provider."""

    code = "provider_mismatch"
    remedy = "Give the fields of the provider that is named."


def check_provider(of_provider: Target | Identity | Storage, named: ProviderName, *, field: str) -> None:
    """Raise ProviderMismatch unless the thing belongs to the provider that is named."""
    if of_provider.__struct_config__.tag != named:
        raise ProviderMismatch(errors=(FieldError(field=field, message=f"not one of {named}"),))


def target_key(target: Target) -> str:
    """Tells apart the places one function can be deployed to: two deployments with one key replace each other."""
    match target:
        case LocalTarget():
            return "local"
