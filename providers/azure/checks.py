"""Looking whether a project's Azure is set up, one thing after another, each with the command that mends it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import msgspec

from domain.clouds import AzureIdentity, AzureResources, AzureStorage
from providers.azure import apps, roles
from providers.azure.account import Account
from providers.azure.errors import Answered, command, grant, told
from providers.azure.identity import MANAGEMENT, STORAGE, MayPass, Tokens
from providers.azure.making import make
from providers.azure.registry import REGISTRY_VERSION
from providers.azure.roles import Permission, Place, Role
from providers.azure.storage import Container, probe_name
from providers.provider import ProviderBusy, ProviderRefused
from providers.walk import MaySpread, NotSeen, Spreading, Walk

GROUP_VERSION = "2025-04-01"
IDENTITY_VERSION = "2024-11-30"
STORAGE_VERSION = "2026-09-01"
RIGHTS_VERSION = "2022-04-01"
BUSY = "AZURE_PENDING"
# Microsoft: roles and federated credentials take up to ten minutes.
SPREADS_SECONDS = 600.0
# What Entra says of an identity while another of its credentials spreads, too.
_MAY_SPREAD = frozenset({"AZURE_ISSUER_DIFFERS", "AZURE_SUBJECT_DIFFERS"})
# For all that one look asks, however many calls that takes.
LOOK_SECONDS_MAX = 60.0
# Roles of the customer's own that are looked into.
ASSIGNMENTS_MAX = 20
_TEMPLATE = "POST …/azure/resources/template gives a template and commands for all."


class _Subscription(msgspec.Struct, rename="camel"):
    subscription_id: str = ""


class _Properties(msgspec.Struct, rename="camel"):
    provisioning_state: str = ""
    login_server: str = ""
    client_id: str = ""
    principal_id: str = ""


class _Resource(msgspec.Struct):
    id: str = ""
    name: str = ""
    location: str = ""
    properties: _Properties = msgspec.field(default_factory=_Properties)


class _AssignmentProperties(msgspec.Struct, rename="camel"):
    principal_id: str = ""
    role_definition_id: str = ""
    scope: str = ""


class _Assignment(msgspec.Struct):
    properties: _AssignmentProperties = msgspec.field(default_factory=_AssignmentProperties)


class _DefinitionProperties(msgspec.Struct):
    permissions: list[Permission] = []


class _Definition(msgspec.Struct):
    properties: _DefinitionProperties = msgspec.field(default_factory=_DefinitionProperties)


class _Paths(msgspec.Struct, frozen=True):
    """Where the resources are in Azure."""

    group: str
    storage_account: str
    registry: str
    environment: str
    pull_identity: str

    @classmethod
    def of(cls, identity: AzureIdentity, resources: AzureResources) -> _Paths:
        group = f"/subscriptions/{identity.subscription_id}/resourceGroups/{resources.resource_group}"
        return cls(
            group=group,
            storage_account=f"{group}/providers/Microsoft.Storage/storageAccounts/{resources.account}",
            registry=f"{group}/providers/Microsoft.ContainerRegistry/registries/{resources.registry}",
            environment=f"{group}/providers/Microsoft.App/managedEnvironments/{resources.environment_name}",
            pull_identity=resources.pull_identity,
        )

    def at(self, place: Place) -> str:
        return str(getattr(self, place))


class Checks:
    """The checks of one project's integration."""

    def __init__(self, account: Account, tokens: Tokens) -> None:
        self._account, self._tokens = account, tokens
        self._until = asyncio.get_running_loop().time() + LOOK_SECONDS_MAX
        self._own = ""
        self._seen: dict[str, list[Permission]] = {}
        self._principal: str | None = None
        self._pull_principal = ""

    async def identity(self, walk: Walk) -> None:
        """Our token, its exchange, and that the application may see the subscription; nothing kept is believed."""
        await self._step(walk, "own_token", self._look_at_own_token)
        await self._step(walk, "token_exchange", self._look_at_exchange)
        await self._step(walk, "subscription", self._look_at_subscription)

    async def bucket(self, walk: Walk, storage: AzureStorage) -> None:
        """That the container is there, that files can be put, read, listed and removed, and that builds may read them."""
        container = Container(self._account, storage)

        def place() -> Awaitable[str]:
            return self._storage_account(storage.account)

        await self._step(walk, "container", lambda: self._spreading(self._look_at_container(container, storage), place))
        await self._step(walk, "blob_role", lambda: self._spreading(self._look_at_blobs(container), place))
        await self._step(walk, "delegation", lambda: self._spreading(self._look_at_delegation(container), place))

    async def resources(self, walk: Walk, resources: AzureResources) -> None:
        """Each resource by itself, what the application may do with each, then the container."""
        paths = _Paths.of(self._account.identity, resources)
        await self._things(walk, paths, resources)
        await self._roles(walk, paths)
        storage = AzureStorage(account=resources.account, container=resources.container)
        container = Container(self._account, storage)
        known = ("subscription", "storage_account")

        async def place() -> str:
            return paths.storage_account

        await self._step(
            walk,
            "container",
            lambda: self._spreading(self._look_at_container(container, storage), place),
            needs=(*known, "storage_role"),
        )
        await self._step(
            walk,
            "blob_role",
            lambda: self._spreading(self._look_at_blobs(container), place),
            needs=(*known, "storage_role", "container"),
        )
        await self._step(
            walk,
            "delegation",
            lambda: self._spreading(self._look_at_delegation(container), place),
            needs=(*known, "storage_role", "container"),
        )

    async def _things(self, walk: Walk, paths: _Paths, resources: AzureResources) -> None:
        in_group = ("subscription", "resource_group")
        seen = self._look_at
        await self._step(
            walk,
            "resource_group",
            lambda: self._look_at_group(paths.group),
            needs=("subscription",),
        )
        await self._step(
            walk,
            "storage_account",
            lambda: seen(paths.storage_account, STORAGE_VERSION, "storage account"),
            needs=in_group,
        )
        await self._step(
            walk, "registry", lambda: self._look_at_registry(paths.registry, resources.registry), needs=in_group
        )
        await self._step(
            walk, "environment", lambda: seen(paths.environment, apps.VERSION, "environment"), needs=in_group
        )
        beside = paths.pull_identity.lower().startswith(f"{paths.group}/".lower())
        await self._step(
            walk,
            "pull_identity",
            lambda: self._look_at_pull_identity(paths.pull_identity),
            needs=in_group if beside else ("subscription",),
        )

    async def _roles(self, walk: Walk, paths: _Paths) -> None:
        async def step(name: str, role: Role, *needs: str, optional: str = "") -> None:
            await self._step(
                walk,
                name,
                lambda: self._look_at_role(role, paths, optional),
                needs=("subscription", "resource_group", *needs),
            )

        await step("build_role", roles.BUILDER, "registry")
        await step("push_role", roles.PUSHER, "registry")
        await step("removal_role", roles.REMOVER, "registry")
        await step("apps_role", roles.APPS)
        await step("jobs_role", roles.JOBS, optional="Only functions that run on a schedule need it")
        await step("assignment_role", roles.ASSIGNER, "pull_identity")
        await step("storage_role", roles.BLOBS, "storage_account")
        await self._step(
            walk,
            "pull_role",
            lambda: self._look_at_pulling(paths),
            needs=("subscription", "resource_group", "registry", "pull_identity"),
        )

    async def _step(
        self, walk: Walk, name: str, look: Callable[[], Awaitable[str]], *, needs: tuple[str, ...] | None = None
    ) -> None:
        """One step, in what is left of the time for all of them."""

        async def looked() -> str:
            try:
                async with asyncio.timeout_at(self._until):
                    return await look()
            except Answered as error:
                raise told(error, self._account.identity) from error
            except TimeoutError as error:
                raise ProviderBusy(f"Azure took longer than {LOOK_SECONDS_MAX:g} s for all of it.") from error

        await walk.step(name, looked, needs=needs)

    async def _look_at_own_token(self) -> str:
        self._own = self._tokens.own(*self._account.whose)
        return "This service signed a token that names the tenant and the project."

    async def _look_at_exchange(self) -> str:
        self._account.forget_token(MANAGEMENT)
        self._account.forget_token(STORAGE)
        try:
            await self._tokens.exchange(self._own, self._account.whose, MANAGEMENT)
        except MayPass as unknown:
            raise MaySpread(unknown.refused) from unknown
        except ProviderRefused as refused:
            if refused.code in _MAY_SPREAD:
                raise MaySpread(refused) from refused
            raise
        return "Entra took the token: the project may act as the application."

    async def _look_at_subscription(self) -> str:
        wanted = self._account.identity.subscription_id
        found = await self._account.all("/subscriptions", "2022-12-01", _Subscription)
        if wanted.lower() not in {one.subscription_id.lower() for one in found}:
            raise MaySpread(
                ProviderRefused(
                    "AZURE_ROLE_MISSING",
                    f"The application has no role in the subscription {wanted}, or it has not spread yet (up to ten "
                    "minutes).",
                    "Deploy the template of POST …/azure/wif/register in the resource group, or: "
                    + grant("Reader", "", self._account.identity),
                )
            )
        return f"The application has a role in the subscription {wanted}."

    async def _look_at_container(self, container: Container, storage: AzureStorage) -> str:
        await container.look()
        return f"The container {storage.container} of {storage.account} is there."

    async def _look_at_blobs(self, container: Container) -> str:
        name = probe_name()
        await container.put(name, io.BytesIO(b"dcf"), {})
        read = await container.read(name)
        listed = await container.names(name)
        await container.remove(name)
        if read != b"dcf" or listed != [name]:
            raise ProviderBusy("The storage does not show yet what was put there.")
        return "Files can be put, read, listed and removed."

    async def _look_at_delegation(self, container: Container) -> str:
        await container.link(probe_name())
        return "Builds can be given an address to read the sources at."

    async def _look_at(self, path: str, version: str, what: str) -> str:
        found = await self._account.found("GET", path, version, _Resource)
        name = path.rpartition("/")[2]
        if found is None:
            code = f"AZURE_{what.upper().replace(' ', '_')}_NOT_FOUND"
            raise ProviderRefused(code, f"There is no {what} {name}.", f"{make(path)}\nOr: {_TEMPLATE}")
        state = found.properties.provisioning_state
        if state in ("Failed", "Canceled"):
            code = f"AZURE_{what.upper().replace(' ', '_')}_FAILED"
            raise ProviderRefused(code, f"The {what} {name} ended as {state}.", f"Make it anew: {make(path)}")
        if state not in ("", "Succeeded"):
            raise ProviderBusy(f"The {what} {name} is still being made ({state}).")
        return f"The {what} {name} is in {found.location or 'its place'}."

    async def _look_at_group(self, path: str) -> str:
        try:
            return await self._look_at(path, GROUP_VERSION, "resource group")
        except Answered as error:
            if error.http_status != 403:
                raise
            # Whoever has no role there is not told whether it is there.
            raise ProviderRefused(
                "AZURE_PERMISSION_DENIED",
                f"The application may not see the {_name(path).removeprefix('the ')}: it has no role there, or there is none.",
                f"{grant(roles.READER.name, path, self._account.identity)}\nOr make it first: {make(path)}",
            ) from error

    async def _look_at_registry(self, path: str, name: str) -> str:
        seen = await self._look_at(path, REGISTRY_VERSION, "registry")
        server = (await self._account.call("GET", path, REGISTRY_VERSION, _Resource)).properties.login_server
        if server != f"{name.lower()}.azurecr.io":
            raise ProviderRefused(
                "AZURE_REGISTRY_NAME_LABEL",
                f"The registry {name} answers at {server}: it was made with a domain name label.",
                "Make a registry without one (domain name label scope Unsecure), and name that.",
            )
        return seen

    async def _look_at_pull_identity(self, path: str) -> str:
        seen = await self._look_at(path, IDENTITY_VERSION, "pull identity")
        found = await self._account.call("GET", path, IDENTITY_VERSION, _Resource)
        self._pull_principal = found.properties.principal_id
        return seen

    async def _look_at_role(self, role: Role, paths: _Paths, optional: str = "") -> str:
        """What the application may do there, as Azure itself sums it up over all of its roles."""
        scope = paths.at(role.on)
        lacking = roles.missing(role, await self._permissions(scope))
        if not lacking:
            return f"The application has what {role.name} gives on {_name(scope)}."
        remedy = grant(role.name, scope, self._account.identity)
        if optional:
            raise NotSeen(f"{optional}: the application lacks {role.name} on {_name(scope)}.", remedy)
        code = "AZURE_BLOB_ROLE_MISSING" if role is roles.BLOBS else "AZURE_ROLE_MISSING"
        refused = ProviderRefused(
            code,
            f"The application lacks the role {role.name} on {_name(scope)}: it may not {lacking[0]}.",
            remedy,
        )
        raise await self._told_apart(refused, role, scope)

    async def _look_at_pulling(self, paths: _Paths) -> str:
        """That the pull identity has a role of which Container Apps may make use to pull images."""
        name = _name(paths.registry)
        found = await self._assigned(paths.registry, self._pull_principal)
        for definition in found:
            if definition.rpartition("/")[2] in roles.PULLING:
                return f"The pull identity may pull from {name}."
        for definition in found[:ASSIGNMENTS_MAX]:
            shown = await self._account.call("GET", definition, RIGHTS_VERSION, _Definition)
            if not roles.missing(roles.PULLER, shown.properties.permissions):
                return f"The pull identity may pull from {name}."
        raise ProviderRefused(
            "AZURE_PULL_ROLE_MISSING",
            f"The pull identity lacks the role {roles.PULLER.name} on {name}: apps could not pull their images.",
            command(
                *("az", "role", "assignment", "create", "--assignee-object-id", self._pull_principal),
                *("--assignee-principal-type", "ServicePrincipal"),
                *("--role", roles.PULLER.name, "--scope", paths.registry),
            ),
        )

    async def _permissions(self, scope: str) -> list[Permission]:
        if scope not in self._seen:
            path = f"{scope}/providers/Microsoft.Authorization/permissions"
            self._seen[scope] = await self._account.all(path, RIGHTS_VERSION, Permission)
        return self._seen[scope]

    async def _told_apart(self, refused: ProviderRefused, role: Role, scope: str) -> Exception:
        """What the refusal is: of a role that was given, as Resource Manager shows, and only has to spread, or was not.
        Of an application that is no managed identity of the subscription, and of no scope, that cannot be told."""
        principal = await self._own_principal() if scope else ""
        if not principal:
            return MaySpread(refused)
        definitions = await self._assigned(scope, principal)
        is_given = any(definition.rpartition("/")[2] == role.id for definition in definitions)
        return Spreading(refused) if is_given else refused

    async def _own_principal(self) -> str:
        if self._principal is None:
            identity = self._account.identity
            path = (
                f"/subscriptions/{identity.subscription_id}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
            )
            try:
                found = await self._account.all(path, IDENTITY_VERSION, _Resource)
            except Answered:
                found = []
            client = identity.client_id.lower()
            mine = (one.properties.principal_id for one in found if one.properties.client_id.lower() == client)
            self._principal = next(mine, "")
        return self._principal

    async def _assigned(self, scope: str, principal: str) -> list[str]:
        """The definitions of the roles that the principal has there, or above."""
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
        query = {"$filter": f"principalId eq '{principal}'"}
        found = await self._account.all(path, RIGHTS_VERSION, _Assignment, query=query)
        place = f"{scope}/".lower()
        return [
            one.properties.role_definition_id
            for one in found
            if one.properties.principal_id.lower() == principal.lower()
            and place.startswith(f"{one.properties.scope.rstrip('/')}/".lower())
        ]

    async def _spreading(self, looking: Awaitable[str], place: Callable[[], Awaitable[str]]) -> str:
        """What was seen in the storage, which heeds a role some minutes later than Resource Manager shows it. `place` is
        asked for the account's path there; none, and nobody can tell whether the role was given."""
        try:
            return await looking
        except Answered as error:
            refused = told(error, self._account.identity)
            if not isinstance(refused, ProviderRefused) or refused.code != "AZURE_BLOB_ROLE_MISSING":
                raise
            scope = await place()
            if scope and not roles.missing(roles.BLOBS, await self._permissions(scope)):
                raise Spreading(refused) from error
            raise await self._told_apart(refused, roles.BLOBS, scope) from error

    async def _storage_account(self, name: str) -> str:
        """The path of the storage account in Resource Manager; none for one that the application may not see there."""
        path = f"/subscriptions/{self._account.identity.subscription_id}/providers/Microsoft.Storage/storageAccounts"
        try:
            found = await self._account.all(path, STORAGE_VERSION, _Resource)
        except Answered:
            return ""
        return next((one.id for one in found if one.name.lower() == name.lower()), "")


def _name(path: str) -> str:
    """`the registry acme` of a path: what stands behind its last kind."""
    kind, name = path.rsplit("/", 2)[1:]
    return f"{_KINDS.get(kind, kind)} {name}"


_KINDS = {
    "resourceGroups": "the resource group",
    "storageAccounts": "the storage account",
    "registries": "the registry",
    "userAssignedIdentities": "the identity",
}
