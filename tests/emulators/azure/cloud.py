"""Azure and its customer: a subscription set up as the service asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain.clouds import ProviderName
from tests.emulators.azure.customer import (
    ACCOUNT,
    CLIENT,
    CONTAINER,
    DIRECTORY,
    ENVIRONMENT,
    GROUP,
    LOCATION,
    REGISTRY,
    SUBSCRIPTION,
    Customer,
)
from tests.emulators.azure.server import Azure
from tests.emulators.background import Background
from tests.emulators.images import Workshop


class AzureCloud:
    """The subscription is empty until it is prepared."""

    name: ProviderName = "azure"
    identity: Mapping[str, Any] = {
        "azureTenantId": DIRECTORY,
        "clientId": CLIENT,
        "subscriptionId": SUBSCRIPTION,
    }
    storage: Mapping[str, Any] = {"account": ACCOUNT, "container": CONTAINER}

    def __init__(self, workshop: Workshop) -> None:
        self._workshop, self._background = workshop, Background()
        self.customer = Customer()
        self.azure = Azure(self.customer, workshop, self._background)

    @property
    def stands_in_for(self) -> str:
        return self._workshop.stands_in_for

    def target(self, name: str) -> dict[str, Any]:
        return {
            "subscriptionId": SUBSCRIPTION,
            "resourceGroup": GROUP,
            "region": LOCATION,
            "registry": REGISTRY,
            "environmentName": ENVIRONMENT,
            "appName": name,
        }

    def prepare_for_all(self, issuer: str) -> None:
        """Set everything up, for the tokens of any project."""
        self.customer.set_up()
        self.customer.trusts_all_of = issuer

    def close(self) -> None:
        self._background.close()
        self._workshop.close()
