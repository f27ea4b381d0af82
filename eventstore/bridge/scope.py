"""What a bridge may reach: which database, and one tenant of it or all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self
from uuid import UUID

import msgspec

from eventstore.database import Role
from process.settings import PREFIX, SettingInvalid, Settings

TENANT_VARIABLE = "DCF_TENANT"


class Scope(msgspec.Struct, frozen=True):
    """`tenant_id` None stands for all tenants, which only a user of the database that may act as dcf_engine sees."""

    settings: Settings
    tenant_id: UUID | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """As Settings.from_environment, and DCF_TENANT. An application's own variables (NAME_DCF_TENANT) come first.

        Raises SettingInvalid.
        """
        fields = msgspec.structs.fields(Settings)
        names = [PREFIX + field.encode_name.upper() for field in fields]
        # Not by iteration: the library's Environment looks for the prefixed name only when asked for a key.
        settings = Settings.from_environment({name: environment.get(name) or "" for name in names})
        return cls(settings, _tenant((environment.get(TENANT_VARIABLE) or "").strip()))

    @property
    def role(self) -> Role:
        """Who the bridge acts as."""
        return "dcf_engine" if self.tenant_id is None else "dcf_app"


def _tenant(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise SettingInvalid(TENANT_VARIABLE, "cannot be used; set it to a tenant's id, or unset it for all") from None
