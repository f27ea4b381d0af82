"""The emulators there are: the only place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from domain.clouds import ProviderName
from tests.emulators.aws.cloud import AwsCloud
from tests.emulators.azure.cloud import AzureCloud
from tests.emulators.cloud import Cloud
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.images import Workshop

# Each is given where its images are built and run, and closes that when it is closed itself.
EMULATORS: Mapping[ProviderName, Callable[[Workshop], Cloud]] = {
    "gcp": GcpCloud,
    "aws": AwsCloud,
    "azure": AzureCloud,
}
