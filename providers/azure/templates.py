"""The ARM templates by which a customer lets one project in: its identity, and what its functions are built and run with."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.azure import roles
from providers.azure.identity import AUDIENCE
from providers.azure.naming import MANAGED_BY
from providers.azure.roles import Place, Role

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
_STORAGE = "Microsoft.Storage/storageAccounts"
_REGISTRY = "Microsoft.ContainerRegistry/registries"
_ENVIRONMENT = "Microsoft.App/managedEnvironments"
_IDENTITY_VERSION = "2024-11-30"
_TAGS = {"managed-by": MANAGED_BY}
_LOCATION = "[parameters('location')]"


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What the resources are called. `identity` is the one that the register template makes."""

    identity: str
    account: str
    container: str
    registry: str
    environment: str
    pull_identity: str


def identity_template(name: str, issuer: str, subject: str) -> dict[str, Any]:
    """The template for one project's tokens: an identity that may look at the group, and nothing more.

    Its outputs are what connecting asks for, and who is given the roles on the resources.
    """
    identity = f"resourceId('{_IDENTITY}', '{name}')"
    known = f"reference({identity}, '{_IDENTITY_VERSION}')"
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {},
        "resources": [
            {
                "type": _IDENTITY,
                "apiVersion": _IDENTITY_VERSION,
                "name": name,
                "location": "[resourceGroup().location]",
                "tags": _TAGS,
            },
            {
                "type": f"{_IDENTITY}/federatedIdentityCredentials",
                "apiVersion": _IDENTITY_VERSION,
                "name": f"{name}/dcf",
                "dependsOn": [f"[{identity}]"],
                "properties": {"issuer": issuer, "subject": subject, "audiences": [AUDIENCE]},
            },
            {
                "type": "Microsoft.Authorization/roleAssignments",
                "apiVersion": "2022-04-01",
                "name": f"[guid(resourceGroup().id, '{name}', '{roles.READER.id}')]",
                "dependsOn": [f"[{identity}]"],
                "properties": {
                    "roleDefinitionId": _definition(roles.READER),
                    "principalId": f"[{known}.principalId]",
                    "principalType": "ServicePrincipal",
                },
            },
        ],
        "outputs": {
            "azureTenantId": {"type": "string", "value": f"[{known}.tenantId]"},
            "clientId": {"type": "string", "value": f"[{known}.clientId]"},
            "principalId": {"type": "string", "value": f"[{known}.principalId]"},
            "subscriptionId": {"type": "string", "value": "[subscription().subscriptionId]"},
        },
    }


def resources_template(names: Names) -> dict[str, Any]:
    """The template for what functions are built and run with, and the roles on just these for the project's identity."""
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": _parameters(names),
        "resources": [
            *_storage(),
            {
                "type": _REGISTRY,
                "apiVersion": "2023-07-01",
                "name": "[parameters('registry')]",
                "location": _LOCATION,
                "tags": _TAGS,
                "sku": {"name": "Basic"},
                "properties": {"adminUserEnabled": False},
            },
            {
                "type": _ENVIRONMENT,
                "apiVersion": "2026-07-01",
                "name": "[parameters('environmentName')]",
                "location": _LOCATION,
                "tags": _TAGS,
                "properties": {
                    "workloadProfiles": [{"name": "Consumption", "workloadProfileType": "Consumption"}],
                },
            },
            {
                "type": _IDENTITY,
                "apiVersion": _IDENTITY_VERSION,
                "name": "[parameters('pullIdentityName')]",
                "location": _LOCATION,
                "tags": _TAGS,
            },
            _pulling(),
            *(_deploying(role, names) for role in roles.DEPLOYING),
        ],
        "outputs": {
            **{
                name: {"type": "string", "value": f"[parameters('{parameter}')]"}
                for name, parameter in (
                    ("account", "storageAccount"),
                    ("container", "container"),
                    ("registry", "registry"),
                    ("environmentName", "environmentName"),
                )
            },
            "resourceGroup": {"type": "string", "value": "[resourceGroup().name]"},
            "pullIdentity": {"type": "string", "value": f"[{_id('pull_identity')}]"},
        },
    }


def _parameters(names: Names) -> dict[str, dict[str, Any]]:
    def named(value: str, said: str, longest: int) -> dict[str, Any]:
        return {"type": "string", "defaultValue": value, "maxLength": longest, "metadata": {"description": said}}

    return {
        "location": {
            "type": "string",
            "defaultValue": "[resourceGroup().location]",
            "metadata": {"description": "The region of everything."},
        },
        "storageAccount": named(names.account, "A name that no storage account of the world has.", 24),
        "container": named(names.container, "Where sources are staged.", 63),
        "registry": named(
            names.registry, "A name that no registry of the world has. It builds and keeps the images.", 50
        ),
        "environmentName": named(names.environment, "Where the apps run.", 60),
        "pullIdentityName": named(names.pull_identity, "The identity that pulls images for the apps.", 128),
        "principalId": named(
            "",
            f"Who is given the roles: the principalId of the registered identity. Empty: of {names.identity} in this group.",
            36,
        ),
    }


def _storage() -> list[dict[str, Any]]:
    return [
        {
            "type": _STORAGE,
            "apiVersion": "2026-09-01",
            "name": "[parameters('storageAccount')]",
            "location": _LOCATION,
            "tags": _TAGS,
            "kind": "StorageV2",
            "sku": {"name": "Standard_LRS"},
            # Nobody needs the account's keys: who comes in has a role.
            "properties": {
                "allowBlobPublicAccess": False,
                "allowSharedKeyAccess": False,
                "minimumTlsVersion": "TLS1_2",
                "supportsHttpsTrafficOnly": True,
            },
        },
        {
            "type": f"{_STORAGE}/blobServices",
            "apiVersion": "2026-09-01",
            "name": "[format('{0}/default', parameters('storageAccount'))]",
            "dependsOn": [f"[{_id('storage_account')}]"],
            "properties": {},
        },
        {
            "type": f"{_STORAGE}/blobServices/containers",
            "apiVersion": "2026-09-01",
            "name": "[format('{0}/default/{1}', parameters('storageAccount'), parameters('container'))]",
            "dependsOn": [f"[resourceId('{_STORAGE}/blobServices', parameters('storageAccount'), 'default')]"],
            "properties": {"publicAccess": "None"},
        },
    ]


def _pulling() -> dict[str, Any]:
    registry, identity = _id("registry"), _id("pull_identity")
    return {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "name": f"[guid({registry}, {identity}, '{roles.PULLER.id}')]",
        "scope": f"[{registry}]",
        "dependsOn": [f"[{registry}]", f"[{identity}]"],
        "properties": {
            "roleDefinitionId": _definition(roles.PULLER),
            "principalId": f"[reference({identity}, '{_IDENTITY_VERSION}').principalId]",
            "principalType": "ServicePrincipal",
        },
    }


def _deploying(role: Role, names: Names) -> dict[str, Any]:
    """One role for the project's identity, on nothing else than what it is for."""
    whose = f"reference(resourceId('{_IDENTITY}', '{names.identity}'), '{_IDENTITY_VERSION}').principalId"
    on_group = role.on == "group"
    scope = "resourceGroup().id" if on_group else _id(role.on)
    return {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "name": f"[guid({scope}, '{names.identity}', parameters('principalId'), '{role.id}')]",
        **({} if on_group else {"scope": f"[{scope}]", "dependsOn": [f"[{scope}]"]}),
        "properties": {
            "roleDefinitionId": _definition(role),
            "principalId": f"[if(empty(parameters('principalId')), {whose}, parameters('principalId'))]",
            "principalType": "ServicePrincipal",
        },
    }


def _definition(role: Role) -> str:
    return f"[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{role.id}')]"


_IDS: dict[Place, str] = {
    "storage_account": f"resourceId('{_STORAGE}', parameters('storageAccount'))",
    "registry": f"resourceId('{_REGISTRY}', parameters('registry'))",
    "pull_identity": f"resourceId('{_IDENTITY}', parameters('pullIdentityName'))",
}


def _id(place: Place) -> str:
    return _IDS[place]
