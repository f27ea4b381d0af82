"""Targets, identity fields and storage of each cloud."""

from __future__ import annotations

from typing import Literal

import msgspec

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


def target_key(target: Target) -> str:
    """Tells apart the places one function can be deployed to: two deployments with one key replace each other."""
    match target:
        case LocalTarget():
            return "local"
