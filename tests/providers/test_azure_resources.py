"""What Azure's resources are looked at for: each thing that is missing is named with the command that mends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from domain.clouds import AzureIdentity, AzureResources
from providers.azure import checks, roles
from providers.azure.provider import AzureProvider
from providers.azure.roles import Permission
from providers.issuer import Issuer, Keyring
from providers.provider import Finding, Step
from tests.emulators.azure import customer as of
from tests.emulators.azure.customer import Customer, path_of, principal_of
from tests.emulators.azure.faults import Fault
from tests.emulators.azure.roles import NAMES, ROLES, Role
from tests.emulators.azure.server import Azure
from tests.emulators.azure.shell import NotACommand, Shell
from tests.emulators.background import Background
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR, well_known

IDENTITY = AzureIdentity(azure_tenant_id=of.DIRECTORY, client_id=of.CLIENT, subscription_id=of.SUBSCRIPTION)
REGISTRY = path_of("Microsoft.ContainerRegistry/registries", of.REGISTRY)
ENVIRONMENT = path_of("Microsoft.App/managedEnvironments", of.ENVIRONMENT)
STORAGE = path_of("Microsoft.Storage/storageAccounts", of.ACCOUNT)
PULLER = path_of(of.IDENTITY_TYPE, of.PULLER)
RESOURCES = AzureResources(
    resource_group=of.GROUP,
    registry=of.REGISTRY,
    environment_name=of.ENVIRONMENT,
    pull_identity=PULLER,
    account=of.ACCOUNT,
    container=of.CONTAINER,
)
# What was made anew has none of what was in it or given on it, which the next look shows.
LOOKS_MAX = 3
STEPS = (
    *("own_token", "token_exchange", "subscription", "resource_group", "storage_account", "registry"),
    *("environment", "pull_identity", "build_role", "push_role", "removal_role", "apps_role", "jobs_role"),
    *("assignment_role", "storage_role", "pull_role", "container", "blob_role", "delegation"),
)


class Place:
    """An Azure with everything in it, and the provider that looks."""

    def __init__(self, folder: Path) -> None:
        self.background = Background()
        self.issuer = Issuer(Keyring(folder / "keys.json"), lambda: f"http://127.0.0.1:{port}")
        port = self.background.serve(well_known(self.issuer))
        self.customer = Customer()
        self.customer.set_up()
        self.shell = Shell(self.customer)
        self.customer.trusts_all_of = self.issuer.issuer
        self.azure = Azure(self.customer, workshop(folder / "cloud", TOOLCHAIN_DIR, real=False), self.background)
        self.provider = AzureProvider(self.issuer, self.azure.endpoints)

    async def look(self, **changes: str) -> Finding:
        resources = msgspec.structs.replace(RESOURCES, **changes)
        return await self.provider.check_resources(uuid4(), uuid4(), IDENTITY, resources)

    def without(self, path: str) -> None:
        self.customer.remove(path)

    async def mended(self, finding: Finding) -> Finding:
        """What is seen after the customer ran what was said of whatever failed, look after look."""
        for _ in range(LOOKS_MAX):
            for step in finding.steps:
                if step.status == "failed":
                    self.shell.obey(step.remedy)
            finding = await self.look()
            if finding.status == "verified":
                break
        return finding


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = await asyncio.to_thread(Place, tmp_path)
    yield made
    await made.provider.close()
    made.background.close()


def _step(finding: Finding, name: str) -> Step:
    [step] = [step for step in finding.steps if step.name == name]
    return step


async def test_everything_passes_step_by_step_and_nothing_is_left_behind(place: Place) -> None:
    finding = await place.look()

    assert [(step.name, step.status) for step in finding.steps] == [(name, "passed") for name in STEPS], finding
    assert finding.status == "verified"
    assert place.azure.blobs.kept == {}


async def test_lists_are_read_to_their_ends(place: Place) -> None:
    place.customer.page_items = 1

    finding = await place.look()

    assert [step.name for step in finding.steps if step.status != "passed"] == []


BROKEN: tuple[tuple[str, Callable[[Place], object], str, str, str], ...] = (
    ("no group", lambda p: p.customer.groups.clear(), "resource_group", "AZURE_RESOURCE_GROUP_NOT_FOUND", "az group create"),
    ("no account", lambda p: p.without(STORAGE), "storage_account", "AZURE_STORAGE_ACCOUNT_NOT_FOUND", "az storage account create"),
    ("no registry", lambda p: p.without(REGISTRY), "registry", "AZURE_REGISTRY_NOT_FOUND", "az acr create"),
    ("no environment", lambda p: p.without(ENVIRONMENT), "environment", "AZURE_ENVIRONMENT_NOT_FOUND", "az containerapp env create"),
    ("no pull identity", lambda p: p.without(PULLER), "pull_identity", "AZURE_PULL_IDENTITY_NOT_FOUND", "az identity create"),
    (
        "no namespace",
        lambda p: p.customer.registered.discard("microsoft.app"),
        "environment",
        "AZURE_PROVIDER_NOT_REGISTERED",
        "az provider register --namespace Microsoft.App",
    ),
    ("no container", lambda p: p.customer.containers.clear(), "container", "AZURE_CONTAINER_NOT_FOUND", "az storage container-rm create"),
    (
        "an environment that failed",
        lambda p: p.customer.make("Microsoft.App/managedEnvironments", of.ENVIRONMENT, {"provisioningState": "Failed"}),
        "environment",
        "AZURE_ENVIRONMENT_FAILED",
        "az containerapp env create",
    ),
    (
        "a registry with a label",
        lambda p: p.customer.make(
            "Microsoft.ContainerRegistry/registries", of.REGISTRY, {"loginServer": "acme-x.azurecr.io"}, sku={"name": "Basic"}
        ),
        "registry",
        "AZURE_REGISTRY_NAME_LABEL",
        "without one",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("what", "act", "step", "code", "remedy"), BROKEN, ids=[broken[0] for broken in BROKEN])
async def test_what_is_missing_is_named_with_what_mends_it(
    place: Place, what: str, act: Callable[[Place], object], step: str, code: str, remedy: str
) -> None:
    act(place)

    finding = await place.look()

    seen = _step(finding, step)
    assert (finding.status, seen.status, seen.code) == ("failed", "failed", code), what
    assert remedy in seen.remedy
    assert [one.name for one in finding.steps if one.status == "failed"] == [step], "and nothing else is blamed"
    if remedy.startswith("az "):
        assert (await place.mended(finding)).status == "verified"
    else:
        with pytest.raises(NotACommand):
            place.shell.obey(seen.remedy)


@pytest.mark.parametrize(
    ("role", "step", "scope"),
    [
        (roles.BUILDER, "build_role", REGISTRY),
        (roles.PUSHER, "push_role", REGISTRY),
        (roles.REMOVER, "removal_role", REGISTRY),
        (roles.APPS, "apps_role", of.GROUP_PATH),
        (roles.ASSIGNER, "assignment_role", PULLER),
        (roles.BLOBS, "storage_role", STORAGE),
    ],
    ids=lambda value: value.name if isinstance(value, roles.Role) else "",
)
async def test_a_missing_role_is_named_with_the_command_that_gives_it_where_it_is_needed(
    place: Place, role: roles.Role, step: str, scope: str
) -> None:
    place.customer.take(role.name)

    finding = await place.look()
    seen = _step(finding, step)

    assert (seen.status, seen.code) == (
        "failed",
        "AZURE_BLOB_ROLE_MISSING" if role is roles.BLOBS else "AZURE_ROLE_MISSING",
    )
    assert seen.remedy == (
        f"az role assignment create --assignee {of.CLIENT} --role "
        f"{repr(role.name) if ' ' in role.name else role.name} --scope {scope}"
    )
    assert (await place.mended(finding)).status == "verified"


async def test_all_that_is_missing_is_named_at_once(place: Place) -> None:
    place.without(ENVIRONMENT)
    for role in (roles.PUSHER, roles.BLOBS):
        place.customer.take(role.name)

    finding = await place.look()

    mended = await place.mended(finding)
    failed = [step.name for step in finding.steps if step.status == "failed"]
    assert failed == ["environment", "push_role", "storage_role"]
    assert _step(finding, "container").status == "skipped", "there is nothing to see without the role"
    assert mended.status == "verified"


async def test_what_only_schedules_need_is_said_and_stops_nothing(place: Place) -> None:
    place.customer.take(roles.JOBS.name)

    finding = await place.look()

    seen = _step(finding, "jobs_role")
    assert (finding.status, seen.status) == ("verified", "skipped")
    place.shell.obey(seen.remedy)
    assert _step(await place.look(), "jobs_role").status == "passed"


@pytest.mark.parametrize("role", [roles.BUILDER, roles.BLOBS], ids=["of the registry", "of blobs"])
async def test_a_role_that_was_given_and_does_not_show_yet_is_awaited(place: Place, role: roles.Role) -> None:
    place.azure.permissions.slow = frozenset({role.name})

    finding = await place.look()

    assert finding.status == "pending"
    assert not [step for step in finding.steps if step.status == "failed"]
    waiting = next(step for step in finding.steps if step.code)
    assert waiting.status == "skipped"
    assert role.name in waiting.remedy, "what mends it if it never comes"


async def test_blobs_that_do_not_heed_the_role_yet_are_awaited(place: Place) -> None:
    place.customer.faults.append(Fault("HEAD", f"/blob/{of.ACCOUNT}/", 403, "AuthorizationPermissionMismatch"))
    place.customer.faults.append(Fault("GET", f"/blob/{of.ACCOUNT}/", 403, "AuthorizationPermissionMismatch"))

    finding = await place.look()

    assert (finding.status, _step(finding, "container").code) == ("pending", "AZURE_BLOB_ROLE_MISSING")


class TestThePullIdentity:
    async def test_is_told_to_have_the_role_that_it_lacks(self, place: Place) -> None:
        place.customer.take("AcrPull")

        seen = _step(await place.look(), "pull_role")

        assert (seen.status, seen.code) == ("failed", "AZURE_PULL_ROLE_MISSING")
        assert f"--assignee-object-id {principal_of(PULLER)}" in seen.remedy
        assert f"--role AcrPull --scope {REGISTRY}" in seen.remedy
        place.shell.obey(seen.remedy)
        assert _step(await place.look(), "pull_role").status == "passed"

    async def test_may_have_a_role_of_the_customers_own(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        own = Role("00000000-1111-2222-3333-444444444444", ("Microsoft.ContainerRegistry/registries/pull/*",))
        monkeypatch.setitem(ROLES, "Ours", own)
        monkeypatch.setitem(NAMES, own.id, "Ours")
        place.customer.take("AcrPull")
        place.customer.grant("Ours", REGISTRY, to=principal_of(PULLER))

        assert _step(await place.look(), "pull_role").status == "passed"

    async def test_is_not_helped_by_a_role_elsewhere(self, place: Place) -> None:
        place.customer.take("AcrPull")
        place.customer.grant("AcrPull", STORAGE, to=principal_of(PULLER))

        assert _step(await place.look(), "pull_role").status == "failed"


async def test_a_look_has_an_end_however_slow_azure_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LOOK_SECONDS_MAX", 0.3)
    place.customer.faults.append(Fault("GET", "/registries/", seconds=0.8))

    finding = await place.look()

    assert finding.status == "pending"
    assert "AZURE_PENDING" in {step.code for step in finding.steps}


async def test_whoever_throttles_is_asked_again_later(place: Place) -> None:
    place.customer.faults.append(Fault("GET", "/permissions", 429))

    finding = await place.look()

    assert (finding.status, _step(finding, "build_role").code) == ("pending", "AZURE_PENDING")


@pytest.mark.parametrize(
    ("allowed", "denied", "lacking"),
    [
        (["*"], [], ()),
        (["microsoft.containerregistry/registries/*"], [], ()),
        (["*"], ["Microsoft.ContainerRegistry/registries/push/*"], (f"{roles.PUSHER.actions[1]}",)),
        (["*/read"], [], (roles.PUSHER.actions[1],)),
        ([], [], roles.PUSHER.actions),
    ],
    ids=["all", "whatever the case", "but", "reading", "nothing"],
)
def test_stars_and_exceptions_count_as_azure_counts_them(
    allowed: list[str], denied: list[str], lacking: tuple[str, ...]
) -> None:
    assert roles.missing(roles.PUSHER, [Permission(actions=allowed, not_actions=denied)]) == lacking


def test_what_one_role_excepts_another_may_allow() -> None:
    excepting = Permission(actions=["*"], not_actions=["*/push/write"])

    assert roles.missing(roles.PUSHER, [excepting, Permission(actions=["*/push/write"])]) == ()
