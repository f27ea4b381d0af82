"""Azure and its customer: a subscription set up as the service asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from domain.clouds import ProviderName
from providers.azure.templates import Names, identity_template, resources_template
from tests.emulators.azure.azurite.door import BlobsInAzurite
from tests.emulators.azure.azurite.running import Azurite
from tests.emulators.azure.customer import (
    ACCOUNT,
    CLIENT,
    CONTAINER,
    DEPLOYER,
    DIRECTORY,
    ENVIRONMENT,
    GROUP,
    IDENTITY_TYPE,
    LOCATION,
    PULLER,
    REGISTRY,
    SUBSCRIPTION,
    Customer,
    path_of,
)
from tests.emulators.azure.deployments import Deployment
from tests.emulators.azure.server import Azure
from tests.emulators.azure.shell import Shell
from tests.emulators.background import Background
from tests.emulators.cloud import Break
from tests.emulators.images import Workshop
from tests.support.service import HELLO

_ENVIRONMENT, _UNKNOWN = "Microsoft.App/managedEnvironments", "AZURE_PROVIDER_NOT_REGISTERED"


class AzureCloud:
    """The subscription is empty until it is prepared. With the program of Azurite its blobs are kept there."""

    name: ProviderName = "azure"
    connect = "azure/connect"
    verify = "azure/wif/verify"
    diagnose = "azure/resources/verify"
    diagnosed: Mapping[str, Any] = {
        "resourceGroup": GROUP,
        "account": ACCOUNT,
        "container": CONTAINER,
        "registry": REGISTRY,
        "environmentName": ENVIRONMENT,
    }
    bucket = "azure/bucket"
    identity: Mapping[str, Any] = {
        "azureTenantId": DIRECTORY,
        "clientId": CLIENT,
        "subscriptionId": SUBSCRIPTION,
    }
    storage: Mapping[str, Any] = {"account": ACCOUNT, "container": CONTAINER}

    def __init__(self, workshop: Workshop, azurite: Path | None = None) -> None:
        self._workshop, self.customer = workshop, Customer()
        self._azurite = Azurite(azurite, ACCOUNT) if azurite else None
        self._background = Background()
        blobs = BlobsInAzurite(self.customer, self._azurite) if self._azurite else None
        self.azure = Azure(self.customer, workshop, self._background, blobs)
        self.shell = Shell(self.customer)

    @property
    def settings(self) -> Mapping[str, str]:
        return {"DCF_AZURE_ENDPOINTS": self.azure.endpoints}

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

    def prepare(self, issuer: str, subject: str) -> None:
        if not self.customer.groups:
            self.customer.groups[GROUP] = LOCATION
            Deployment(self.customer, identity_template(DEPLOYER, issuer, subject), {}).run()
            names = Names(
                identity=DEPLOYER,
                account=ACCOUNT,
                container=CONTAINER,
                registry=REGISTRY,
                environment=ENVIRONMENT,
                pull_identity=PULLER,
            )
            Deployment(self.customer, resources_template(names), {}).run()
            return
        self.shell.obey(
            f"az identity federated-credential create --name {subject.rpartition(':')[2]} --identity-name {DEPLOYER} "
            f"--subscription {SUBSCRIPTION} "
            f"--resource-group {GROUP} --issuer {issuer} --subject {subject} --audiences api://AzureADTokenExchange"
        )

    def prepare_for_all(self, issuer: str) -> None:
        """Set everything up, for the tokens of any project."""
        self.customer.set_up()
        self.customer.trusts_all_of = issuer

    def breaks(self) -> tuple[Break, ...]:
        customer, known = self.customer, self.customer.identities[path_of(IDENTITY_TYPE, DEPLOYER).lower()]

        def broken(what: str, act: Callable[[], object], asked: Any, step: str, code: str) -> Break:
            return Break(what=what, act=act, asked=asked, step=step, code=code, mend=self.shell.obey)

        def with_another_issuer() -> None:
            known.trusts = {name: ("http://127.0.0.1:9", subject) for name, (_, subject) in known.trusts.items()}

        def with_another_subject() -> None:
            known.trusts = {name: (issuer, "somebody else") for name, (issuer, _) in known.trusts.items()}

        def with_another_audience() -> None:
            known.audiences = {name: ["api://other"] for name in known.audiences}

        def without_credential() -> None:
            known.trusts = {}

        def without_roles() -> None:
            kept.update(customer.assignments)
            customer.assignments = {one for one in customer.assignments if one[0] != known.principal_id}

        def with_roles_again(remedy: str) -> None:
            self.shell.obey(remedy)
            customer.assignments |= kept

        kept: set[tuple[str, str, str]] = set()
        identity, bucket = "identity", "bucket"
        return (
            broken("another issuer", with_another_issuer, identity, "token_exchange", "AZURE_ISSUER_DIFFERS"),
            broken("another subject", with_another_subject, identity, "token_exchange", "AZURE_SUBJECT_DIFFERS"),
            broken("no credential", without_credential, identity, "token_exchange", "AZURE_CREDENTIAL_MISSING"),
            broken(
                "an application disabled",
                lambda: customer.disabled.add(CLIENT),
                identity,
                "token_exchange",
                "AZURE_APPLICATION_DISABLED",
            ),
            broken("another audience", with_another_audience, identity, "token_exchange", "AZURE_AUDIENCE_DIFFERS"),
            Break(
                what="no role",
                act=without_roles,
                asked="identity",
                step="subscription",
                code="AZURE_ROLE_MISSING",
                mend=with_roles_again,
            ),
            broken("no container", customer.containers.clear, bucket, "container", "AZURE_CONTAINER_NOT_FOUND"),
            broken(
                "no right to blobs",
                lambda: customer.take("Storage Blob Data Contributor"),
                bucket,
                "container",
                "AZURE_BLOB_ROLE_MISSING",
            ),
            *(
                broken(f"no {role}", partial(customer.take, role), "diagnosis", step, code)
                for role, step, code in (
                    ("Container Registry Tasks Contributor", "build_role", "AZURE_ROLE_MISSING"),
                    ("AcrPush", "push_role", "AZURE_ROLE_MISSING"),
                    ("AcrDelete", "removal_role", "AZURE_ROLE_MISSING"),
                    ("Container Apps Contributor", "apps_role", "AZURE_ROLE_MISSING"),
                    ("Managed Identity Operator", "assignment_role", "AZURE_ROLE_MISSING"),
                    ("Storage Blob Data Contributor", "storage_role", "AZURE_BLOB_ROLE_MISSING"),
                    ("AcrPull", "pull_role", "AZURE_PULL_ROLE_MISSING"),
                )
            ),
            *(
                broken(f"no {name}", partial(customer.registered.discard, name), "diagnosis", step, _UNKNOWN)
                for name, step in (
                    ("microsoft.containerregistry", "registry"),
                    ("microsoft.app", "environment"),
                    ("microsoft.storage", "storage_account"),
                    ("microsoft.managedidentity", "pull_identity"),
                )
            ),
            broken(
                "no environment",
                lambda: customer.remove(path_of(_ENVIRONMENT, ENVIRONMENT)),
                "diagnosis",
                "environment",
                "AZURE_ENVIRONMENT_NOT_FOUND",
            ),
            broken(
                "an environment that failed",
                lambda: customer.make(_ENVIRONMENT, ENVIRONMENT, {"provisioningState": "Failed"}),
                "diagnosis",
                "environment",
                "AZURE_ENVIRONMENT_FAILED",
            ),
            broken(
                "a closed account", lambda: customer.closed.add(ACCOUNT), bucket, "container", "AZURE_STORAGE_FIREWALL"
            ),
        )

    @contextmanager
    def slowly(self) -> Iterator[bytes]:
        with self._workshop.held():
            yield (HELLO / "main.dart").read_bytes()

    def tick(self, at: datetime) -> list[int]:
        return self.azure.jobs.tick(at)

    def builds_running(self) -> int:
        return sum(not made.is_over for made in self.azure.tasks.runs.values())

    def remains(self) -> list[str]:
        return [
            *self.azure.blobs.names(),
            *self.azure.images.names(),
            *self.azure.apps.names(),
            *self.azure.jobs.names(),
            *(f"task {path.rpartition('/')[2]}" for path in self.azure.tasks.tasks),
        ]

    def close(self) -> None:
        self._background.close()
        if self._azurite:
            self._azurite.close()
        self._workshop.close()
