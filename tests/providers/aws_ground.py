"""What tests of AWS share beside grounds.py."""

from __future__ import annotations

import msgspec

from providers.aws.provider import AwsProvider
from tests.emulators.aws.cloud import AwsCloud
from tests.providers.grounds import Ground


class AwsPlace(msgspec.Struct, frozen=True):
    """The account, and the provider that meets it."""

    cloud: AwsCloud
    ground: Ground

    @property
    def provider(self) -> AwsProvider:
        assert isinstance(self.ground.provider, AwsProvider)
        return self.ground.provider
