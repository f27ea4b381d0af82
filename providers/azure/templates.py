"""The ARM template by which a customer lets one project in: an identity, its trust in our tokens, and its roles."""

from __future__ import annotations

from typing import Any

from providers.azure.identity import AUDIENCE

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
# Built-in roles, given on the resource group that the template is deployed in.
ROLES = {
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Container Apps Contributor": "358470bc-b998-42bd-ab17-a7e34c199c0f",
    "Container Apps Jobs Contributor": "4e3d2b60-56ae-4dc6-a233-09c8e5a82e68",
    "Container Registry Tasks Contributor": "fb382eab-e894-4461-af04-94435c366c3f",
    "AcrPush": "8311e382-0749-4cb8-b61a-304f252e45ec",
    "AcrDelete": "c2f4ef07-c644-48eb-af81-4b1b4947fb11",
    "Managed Identity Operator": "f1a07417-d97a-45cb-824c-7a7467783830",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
}
_IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"


def identity_template(name: str, issuer: str, subject: str) -> dict[str, Any]:
    """The template for one project's tokens. Its outputs are what connecting asks for."""
    identity = f"resourceId('{_IDENTITY}', '{name}')"
    roles = [
        {
            "type": "Microsoft.Authorization/roleAssignments",
            "apiVersion": "2022-04-01",
            "name": f"[guid(resourceGroup().id, '{name}', '{role}')]",
            "dependsOn": [f"[{identity}]"],
            "properties": {
                "roleDefinitionId": f"[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{role}')]",
                "principalId": f"[reference({identity}, '2023-01-31').principalId]",
                "principalType": "ServicePrincipal",
            },
        }
        for role in ROLES.values()
    ]
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "resources": [
            {"type": _IDENTITY, "apiVersion": "2023-01-31", "name": name, "location": "[resourceGroup().location]"},
            {
                "type": f"{_IDENTITY}/federatedIdentityCredentials",
                "apiVersion": "2023-01-31",
                "name": f"{name}/dcf",
                "dependsOn": [f"[{identity}]"],
                "properties": {"issuer": issuer, "subject": subject, "audiences": [AUDIENCE]},
            },
            *roles,
        ],
        "outputs": {
            "azureTenantId": {"type": "string", "value": f"[reference({identity}, '2023-01-31').tenantId]"},
            "clientId": {"type": "string", "value": f"[reference({identity}, '2023-01-31').clientId]"},
            "subscriptionId": {"type": "string", "value": "[subscription().subscriptionId]"},
        },
    }
