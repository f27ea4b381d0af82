"""Microsoft's own clients before the emulator: it is right about them too, not only about us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import WorkloadIdentityCredential
from azure.mgmt.appcontainers import ContainerAppsAPIClient
from azure.mgmt.authorization.v2022_04_01 import AuthorizationManagementClient
from azure.mgmt.containerregistry import ContainerRegistryManagementClient
from azure.mgmt.containerregistry.v2019_06_01_preview.models import DockerBuildRequest
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.resource.deployments import DeploymentsMgmtClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.subscriptions import SubscriptionClient
from azure.mgmt.storage import StorageManagementClient

from providers.azure import roles
from providers.azure.templates import Names, identity_template, resources_template
from providers.issuer import Issuer, Keyring
from tests.emulators.azure.cloud import AzureCloud
from tests.emulators.azure.customer import (
    CLIENT,
    DIRECTORY,
    ENVIRONMENT,
    GROUP,
    IDENTITY_TYPE,
    LOCATION,
    PULLER,
    REGISTRY,
    SUBSCRIPTION,
    client_of,
    path_of,
    principal_of,
)
from tests.emulators.background import Background
from tests.emulators.workshop import workshop
from tests.providers.grounds import HELLO, TOOLCHAIN_DIR, packed, sources, well_known
from tests.support import a

SECONDS_MAX = 30.0
_HOSTS = {"login": "https://login.microsoftonline.com", "management": "https://management.azure.com"}
_PULL = path_of(IDENTITY_TYPE, PULLER)


class _Here(RequestsTransport):  # type: ignore[misc]
    """The clients believe that they speak to Azure itself: their names of it are turned into the emulator's, and back."""

    def __init__(self, cloud: AzureCloud) -> None:
        super().__init__()
        self._roots = {theirs: cloud.azure.root(name) for name, theirs in _HOSTS.items()}

    def send(self, request: Any, **rest: Any) -> Any:
        asked = request.url
        for theirs, here in self._roots.items():
            request.url = request.url.replace(theirs, here)
        answer = super().send(request, **rest)
        request.url = asked  # A poller looks there again.
        for name in ("Azure-AsyncOperation", "Location"):
            for theirs, here in self._roots.items():
                if name in answer.headers:
                    answer.headers[name] = answer.headers[name].replace(here, theirs)
        return answer


class Customer:
    """A subscription in the emulator, and Microsoft's clients as its application, by the token of another issuer."""

    def __init__(self, cloud: AzureCloud, token_file: Path) -> None:
        self.cloud, self._token_file = cloud, token_file
        self._opened: list[Any] = []

    def close(self) -> None:
        for client in self._opened:
            client.close()

    def _kept(self, client: Any) -> Any:
        self._opened.append(client)
        return client

    def credential(self, client_id: str = CLIENT) -> WorkloadIdentityCredential:
        made: WorkloadIdentityCredential = self._kept(
            WorkloadIdentityCredential(
                tenant_id=DIRECTORY,
                client_id=client_id,
                token_file_path=str(self._token_file),
                transport=_Here(self.cloud),
                retry_total=0,
            )
        )
        return made

    @property
    def apps(self) -> ContainerAppsAPIClient:
        made: ContainerAppsAPIClient = self._kept(
            ContainerAppsAPIClient(
                self.credential(), SUBSCRIPTION, transport=_Here(self.cloud), polling_interval=0, retry_total=0
            )
        )
        return made

    def of(self, client: Any, **rest: Any) -> Any:
        """Any other of the clients."""
        return self._kept(client(self.credential(), SUBSCRIPTION, transport=_Here(self.cloud), retry_total=0, **rest))

    @property
    def registry(self) -> Any:
        return self.of(ContainerRegistryManagementClient, api_version="2019-06-01-preview", polling_interval=0)


@pytest.fixture(scope="module")
def customer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Customer]:
    folder = tmp_path_factory.mktemp("azure")
    published = Background()
    issuer = Issuer(Keyring(folder / "keys.json"), lambda: f"http://127.0.0.1:{port}")
    port = published.serve(well_known(issuer))
    cloud = AzureCloud(workshop(folder / "cloud", TOOLCHAIN_DIR, real=False))
    cloud.prepare_for_all(issuer.issuer)
    token_file = folder / "token"
    token_file.write_text(issuer.token(a.TENANT_ID, a.PROJECT_ID, "api://AzureADTokenExchange"))
    customer = Customer(cloud, token_file)
    try:
        yield customer
    finally:
        customer.close()
        cloud.close()
        published.close()


def _app(image: str) -> dict[str, Any]:
    return {
        "location": LOCATION,
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {_PULL: {}}},
        "properties": {
            "environmentId": path_of("Microsoft.App/managedEnvironments", ENVIRONMENT),
            "configuration": {
                "activeRevisionsMode": "Single",
                "ingress": {"external": True, "targetPort": 8080},
                "registries": [{"server": f"{REGISTRY}.azurecr.io", "identity": _PULL}],
            },
            "template": {"containers": [{"name": "app", "image": image, "env": [{"name": "PORT", "value": "8080"}]}]},
        },
    }


def _ended(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + SECONDS_MAX
    while (seen := look()).status in ("Queued", "Running"):
        assert time.monotonic() < end, seen
        time.sleep(0.05)
    return seen


def test_azure_identity_becomes_the_application(customer: Customer) -> None:
    assert customer.credential().get_token("https://management.azure.com/.default").token

    with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
        customer.credential(DIRECTORY).get_token("https://management.azure.com/.default")


def test_a_function_is_built_run_and_taken_away_by_microsofts_clients(customer: Customer) -> None:
    registry, apps = customer.registry, customer.apps
    upload = registry.registries.get_build_source_upload_url(GROUP, REGISTRY)
    put = httpx.put(upload.upload_url, content=packed(sources(HELLO)), headers={"x-ms-blob-type": "BlockBlob"})
    asked = {
        "type": "DockerBuildRequest",
        "dockerFilePath": "Dockerfile",
        "imageNames": ["theirs:1"],
        "isPushEnabled": True,
        "platform": {"os": "Linux", "architecture": "amd64"},
        "sourceLocation": upload.relative_path,
    }
    begun = registry.registries.begin_schedule_run(GROUP, REGISTRY, DockerBuildRequest.from_dict(asked)).result()
    ended = _ended(lambda: registry.runs.get(GROUP, REGISTRY, begun.run_id))
    log = httpx.get(registry.runs.get_log_sas_url(GROUP, REGISTRY, begun.run_id).log_link)
    image = f"{REGISTRY}.azurecr.io/theirs@{ended.output_images[0].digest}"
    made = apps.container_apps.begin_create_or_update(GROUP, "theirs", _app(image)).result()  # type: ignore[call-overload]
    answer = httpx.get(f"{customer.cloud.azure.root('apps')}/{made.configuration.ingress.fqdn}")
    apps.container_apps.begin_update(GROUP, "theirs", {"location": LOCATION, "tags": {"changed": "yes"}}).result()  # type: ignore[call-overload]
    changed = apps.container_apps.get(GROUP, "theirs")
    revisions = list(apps.container_apps_revisions.list_revisions(GROUP, "theirs"))
    apps.container_apps.begin_delete(GROUP, "theirs").result()

    assert put.status_code == 201
    assert ended.status == "Succeeded"
    assert "FROM" in log.text
    assert answer.text == "Hello, world!\n"
    assert changed.tags == {"changed": "yes"}
    assert [(one.active, one.health_state) for one in revisions] == [(True, "Healthy")]
    with pytest.raises(ResourceNotFoundError):
        apps.container_apps.get(GROUP, "theirs")


def test_what_azure_would_not_take_is_not_taken_and_an_operation_that_fails_says_why(customer: Customer) -> None:
    apps = customer.apps.container_apps
    image = f"{REGISTRY}.azurecr.io/nothing@sha256:{'0' * 64}"
    misspelled = {**_app(image), "tagz": {}}
    too_patient = _app(image)
    probe = {"type": "Startup", "tcpSocket": {"port": 8080}, "failureThreshold": 20}
    too_patient["properties"]["template"]["containers"][0]["probes"] = [probe]

    for body in (misspelled, too_patient):
        with pytest.raises(HttpResponseError) as refused:
            apps.begin_create_or_update(GROUP, "theirs", body).result()  # type: ignore[call-overload]
        assert refused.value.status_code == 400
    with pytest.raises(HttpResponseError, match="MANIFEST_UNKNOWN"):
        apps.begin_create_or_update(GROUP, "theirs", _app(image)).result()  # type: ignore[call-overload]
    apps.begin_delete(GROUP, "theirs").result()


@pytest.fixture
def owner(tmp_path: Path, customer: Customer) -> Iterator[Customer]:
    """Microsoft's clients as the owner of the subscription."""
    before = set(customer.cloud.customer.assignments)
    customer.cloud.customer.grant("Owner", f"/subscriptions/{SUBSCRIPTION}")
    yield customer
    customer.cloud.customer.assignments = before


def test_the_services_templates_are_deployed_by_microsofts_client(owner: Customer) -> None:
    """Method: by the client of deployments; what they made is then looked at by the clients of each kind."""
    deployments = owner.of(DeploymentsMgmtClient, polling_interval=0).deployments
    templates = {
        "dcf": identity_template("their-dcf", "https://dcf.example", "tenant:t:project:p"),
        "theirs": resources_template(
            Names(
                identity="their-dcf",
                account="theirfiles",
                container="sources",
                registry="theirimages",
                environment="theirs",
                pull_identity="their-pull",
            )
        ),
    }
    outputs = {}
    for name, template in templates.items():
        asked = {"properties": {"mode": "Incremental", "template": template}}
        deployments.begin_create_or_update(GROUP, name, asked).result()
        outputs[name] = {key: one["value"] for key, one in deployments.get(GROUP, name).properties.outputs.items()}
    identities = owner.of(ManagedServiceIdentityClient).user_assigned_identities
    storage = owner.of(StorageManagementClient).storage_accounts
    identity = identities.get(GROUP, "their-dcf")
    registry = path_of("Microsoft.ContainerRegistry/registries", "theirimages")
    rights = owner.of(AuthorizationManagementClient)
    given = list(rights.role_assignments.list_for_scope(registry, filter=f"principalId eq '{identity.principal_id}'"))

    assert outputs["dcf"] == {
        "azureTenantId": DIRECTORY,
        "clientId": identity.client_id,
        "principalId": identity.principal_id,
        "subscriptionId": SUBSCRIPTION,
    }
    assert outputs["theirs"]["pullIdentity"] == identities.get(GROUP, "their-pull").id
    assert storage.get_properties(GROUP, "theirfiles").allow_shared_key_access is False
    assert "sources" in owner.cloud.customer.containers
    assert {one.role_definition_id.rpartition("/")[2] for one in given} >= {roles.BUILDER.id, roles.PUSHER.id}


def test_an_identity_its_trust_its_rights_and_a_storage_are_made_and_found_by_microsofts_clients(
    owner: Customer,
) -> None:
    identities, storage = owner.of(ManagedServiceIdentityClient), owner.of(StorageManagementClient, polling_interval=0)
    rights, groups = owner.of(AuthorizationManagementClient), owner.of(ResourceManagementClient).resource_groups
    subscriptions = owner._kept(SubscriptionClient(owner.credential(), transport=_Here(owner.cloud), retry_total=0))

    made = identities.user_assigned_identities.create_or_update(GROUP, "another", {"location": LOCATION})
    trust = {"properties": {"issuer": "https://dcf.example", "subject": "s", "audiences": ["api://x"]}}
    trusted = identities.federated_identity_credentials.create_or_update(GROUP, "another", "dcf", trust)
    sku = {"location": LOCATION, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
    account = storage.storage_accounts.begin_create(GROUP, "otherfiles", sku).result()
    storage.blob_containers.create(GROUP, "otherfiles", "kept", {"properties": {"publicAccess": "None"}})
    definition = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{roles.BLOBS.id}"
    given = {"properties": {"roleDefinitionId": definition, "principalId": made.principal_id}}
    rights.role_assignments.create(account.id, str(UUID(int=9)), given)
    with pytest.raises(HttpResponseError, match="audiences"):
        identities.federated_identity_credentials.create_or_update(GROUP, "another", "dcf", {"properties": {}})

    path = path_of(IDENTITY_TYPE, "another")
    assert (made.client_id, made.principal_id) == (client_of(path), principal_of(path))
    assert trusted.audiences == ["api://x"]
    assert path in [one.id for one in identities.user_assigned_identities.list_by_subscription()]
    assert "otherfiles" in [one.name for one in storage.storage_accounts.list()]
    assert [one.name for one in groups.list()] == [groups.get(GROUP).name]
    assert [one.subscription_id for one in subscriptions.subscriptions.list()] == [SUBSCRIPTION]
    assert (made.principal_id, "Storage Blob Data Contributor", account.id.lower()) in owner.cloud.customer.assignments
    held = list(rights.permissions.list_for_resource(GROUP, "Microsoft.Storage", "", "storageAccounts", "otherfiles"))
    assert ["*"] in [one.actions for one in held]
    assert rights.role_definitions.get(f"subscriptions/{SUBSCRIPTION}", roles.BLOBS.id).permissions[0].data_actions
