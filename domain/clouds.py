"""Targets, identity fields and trigger support of each cloud."""

from __future__ import annotations

from typing import Literal

import msgspec

ProviderName = Literal["local", "aws", "azure", "gcp"]
PROVIDERS: tuple[ProviderName, ...] = ("local", "aws", "azure", "gcp")


class LocalTarget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="provider", tag="local", rename="camel"):
    """This machine."""


Target = LocalTarget


def target_key(target: Target) -> str:
    """Tells apart the places one function can be deployed to: two deployments with one key replace each other."""
    match target:
        case LocalTarget():
            return "local"
