"""The `az` commands that make what functions are built and run with."""

from __future__ import annotations

import shlex

_STORAGE = (
    *("storage", "account", "create", "--kind", "StorageV2", "--sku", "Standard_LRS", "--min-tls-version", "TLS1_2"),
    *("--https-only", "true", "--allow-blob-public-access", "false", "--allow-shared-key-access", "false"),
)
_MAKING = {
    "storageAccounts": _STORAGE,
    "registries": ("acr", "create", "--sku", "Basic", "--admin-enabled", "false"),
    "managedEnvironments": ("containerapp", "env", "create", "--logs-destination", "none"),
    "userAssignedIdentities": ("identity", "create"),
}


def make(path: str, region: str = "") -> str:
    """What makes the resource of this id: in this region, or, as a remedy, in its subscription and its group's region."""
    parts = path.split("/")
    group, kind, name = parts[4], *parts[-2:]
    if kind.lower() == "resourcegroups":
        return az("group", "create", "--name", name, "--location", region) if region else _group(name, parts[2])
    place = ("--location", region) if region else ("--subscription", parts[2])
    return az(*_MAKING[kind], "--name", name, "--resource-group", group, *place)


def az(*words: str) -> str:
    """The words as a line for a shell."""
    return " ".join(("az", *map(shlex.quote, words)))


def _group(name: str, subscription: str) -> str:
    made = az("group", "create", "--subscription", subscription, "--name", name)
    return f"{made} --location … (with a region of your choice)"
