"""Secret Manager: secrets, their numbered versions, and who may open them."""

from __future__ import annotations

import base64
from typing import Any
from uuid import uuid4

import msgspec

from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.gcp.operations import now

_S = "secretmanager.projects.secrets"


class Kept(msgspec.Struct):
    """`versions` holds None for those destroyed."""

    given: dict[str, Any]
    created: str
    versions: list[bytes | None] = []
    etag: str = msgspec.field(default_factory=lambda: f'"{uuid4().hex}"')

    def require(self, etag: str) -> None:
        """Raises Refused when it is another one by now."""
        if etag not in ("", self.etag):
            raise Refused(400, "The etag does not match the current one.", status="FAILED_PRECONDITION")


class SecretManager:
    """Secrets by name, such as `projects/P/secrets/S`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.secrets: dict[str, Kept] = {}

    @property
    def methods(self) -> Methods:
        return {
            f"{_S}.create": self._create,
            f"{_S}.get": self._get,
            f"{_S}.list": self._list,
            f"{_S}.patch": self._patch,
            f"{_S}.delete": self._delete,
            f"{_S}.addVersion": self._add,
            f"{_S}.versions.get": self._version,
            f"{_S}.versions.list": self._versions,
            f"{_S}.versions.access": self._access,
        }

    def opened(self, member: str, project: str, name: str, version: str) -> str:
        """A version's value, as Cloud Run mounts it for an account in a project. Raises Refused."""
        full = name if name.startswith("projects/") else f"projects/{project}/secrets/{name}"
        self._account.require(member, "secretmanager.versions.access", f"{full}/versions/{version}")
        return self._value(full, version).decode()

    def _create(self, call: Call) -> dict[str, Any]:
        parent, short = call.path["parent"], call.query.get("secretId", "")
        self._account.require(call.member, "secretmanager.secrets.create", parent)
        name = f"{parent}/secrets/{short}"
        if not short or len(short) > 255 or "replication" not in call.body:
            raise Refused(400, "Secret id or replication is missing.")
        if name in self.secrets:
            raise Refused(409, f"Secret [{name}] already exists.")
        self.secrets[name] = Kept(call.body, now())
        return self._shown(name)

    def _get(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "secretmanager.secrets.get", call.path["name"])
        self._found(call.path["name"])
        return self._shown(call.path["name"])

    def _list(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "secretmanager.secrets.list", call.path["parent"])
        wanted = call.query.get("filter", "")
        label, _, value = wanted.removeprefix("labels.").partition("=")
        found = [
            name
            for name, kept in self.secrets.items()
            if not wanted or kept.given.get("labels", {}).get(label) == value.strip('"')
        ]
        return {"secrets": [self._shown(name) for name in found]}

    def _patch(self, call: Call) -> dict[str, Any]:
        name = call.path["name"]
        self._account.require(call.member, "secretmanager.secrets.update", name)
        kept = self._found(name)
        kept.require(call.body.get("etag", ""))
        if call.query.get("updateMask") != "labels":
            raise Refused(501, "Only labels are changed here.")
        kept.given, kept.etag = {**kept.given, "labels": call.body.get("labels", {})}, f'"{uuid4().hex}"'
        return self._shown(name)

    def _delete(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "secretmanager.secrets.delete", call.path["name"])
        self._found(call.path["name"]).require(call.query.get("etag", ""))
        del self.secrets[call.path["name"]]
        return {}

    def _add(self, call: Call) -> dict[str, Any]:
        name = call.path["parent"]
        self._account.require(call.member, "secretmanager.versions.add", name)
        kept = self._found(name)
        kept.versions.append(base64.b64decode(call.body["payload"]["data"]))
        return {"name": f"{name}/versions/{len(kept.versions)}", "createTime": now(), "state": "ENABLED"}

    def _version(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "secretmanager.versions.get", call.path["name"])
        name, _, version = call.path["name"].rpartition("/versions/")
        kept = self._found(name)
        number = len(kept.versions) if version == "latest" else int(version)
        if not 0 < number <= len(kept.versions):
            raise Refused(404, f"Secret Version [{call.path['name']}] not found.")
        state = "DESTROYED" if kept.versions[number - 1] is None else "ENABLED"
        return {"name": f"{name}/versions/{number}", "state": state, "createTime": kept.created}

    def _versions(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "secretmanager.versions.list", call.path["parent"])
        kept = self._found(call.path["parent"])
        numbers = range(len(kept.versions), 0, -1)
        return {"versions": [{"name": f"{call.path['parent']}/versions/{n}", "state": "ENABLED"} for n in numbers]}

    def _access(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "secretmanager.versions.access", call.path["name"])
        name, _, version = call.path["name"].rpartition("/versions/")
        return {"name": call.path["name"], "payload": {"data": base64.b64encode(self._value(name, version)).decode()}}

    def _value(self, name: str, version: str) -> bytes:
        versions = self._found(name).versions
        number = len(versions) if version == "latest" else int(version)
        value = versions[number - 1] if 0 < number <= len(versions) else None
        if value is None:
            raise Refused(404, f"Secret Version [{name}/versions/{version}] not found.")
        return value

    def _found(self, name: str) -> Kept:
        if name not in self.secrets:
            raise Refused(404, f"Secret [{name}] not found.")
        return self.secrets[name]

    def _shown(self, name: str) -> dict[str, Any]:
        kept = self.secrets[name]
        return {**kept.given, "name": name, "createTime": kept.created, "etag": kept.etag}
