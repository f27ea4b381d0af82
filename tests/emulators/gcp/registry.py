"""Artifact Registry: repositories, packages, the versions in them, and the tags that name them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.gcp.operations import Operations, now

_IMAGE = re.compile(r"([a-z0-9-]+)-docker\.pkg\.dev/([^/]+)/([^/]+)/([^:@]+)(?::([^@]+))?(?:@(sha256:[0-9a-f]{64}))?")
_R = "artifactregistry.projects.locations.repositories"


class Package(msgspec.Struct):
    versions: dict[str, str] = {}
    tags: dict[str, str] = {}


class Registry:
    """Repositories by name, such as `projects/P/locations/L/repositories/R`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._operations = Operations()
        self.repositories: dict[str, dict[str, Package]] = {}

    @property
    def methods(self) -> Methods:
        return {
            "artifactregistry.projects.locations.list": self._locations,
            f"{_R}.get": self._get,
            f"{_R}.list": self._list,
            f"{_R}.packages.tags.get": self._tag,
            f"{_R}.packages.tags.create": self._create_tag,
            f"{_R}.packages.tags.delete": self._delete_tag,
            f"{_R}.packages.versions.get": self._version,
            f"{_R}.packages.versions.delete": self._delete_version,
        }

    def make(self, location: str, name: str, project: str = "") -> None:
        full = f"projects/{project or self._account.project}/locations/{location}/repositories/{name}"
        if full in self.repositories:
            raise Refused(409, "the repository already exists")
        self.repositories[full] = {}

    def push(self, member: str, image: str, digest: str) -> None:
        """What `docker push` does. Raises Refused."""
        repository, package, tag, _ = self._parsed(image)
        self._require(member, "artifactregistry.repositories.uploadArtifacts", repository)
        held = self._packages(repository).setdefault(package, Package())
        held.versions[digest] = now()
        held.tags[tag or "latest"] = digest

    def pulled(self, image: str) -> str:
        """The digest of an image. Raises Refused when it is not there."""
        repository, package, tag, digest = self._parsed(image)
        held = self.repositories.get(repository, {}).get(package)
        found = held and (digest if digest in held.versions else held.tags.get(tag))
        if not found:
            raise Refused(404, f"Image '{image}' not found.")
        return found

    def require_pull(self, member: str, image: str) -> None:
        """Raises Refused, in Cloud Run's words."""
        if not self.may_pull(member, image):
            raise Refused(
                403,
                f"Google Cloud Run Service Agent {member.partition(':')[2]} must have permission to read the image, {image}. "
                "Ensure that the provided container image URL is correct and that the above account has permission to access "
                "the image.",
            )

    def may_pull(self, member: str, image: str) -> bool:
        repository, _, _, _ = self._parsed(image)
        policies = self._account.policy_of(repository), self._account.repositories[repository]
        return any(one.allows(member, "artifactregistry.repositories.downloadArtifacts") for one in policies)

    def images(self) -> list[str]:
        return [
            f"image {package}:{tag}"
            for packages in self.repositories.values()
            for package, held in packages.items()
            for tag in held.tags or ["<untagged>"]
            if held.versions
        ]

    def _locations(self, call: Call) -> dict[str, Any]:
        self._require(call.member, "artifactregistry.locations.list", call.path["name"])
        return {"locations": [{"locationId": "europe-west1", "name": f"{call.path['name']}/locations/europe-west1"}]}

    def _get(self, call: Call) -> dict[str, Any]:
        self._require(call.member, "artifactregistry.repositories.get", call.path["name"])
        self._packages(call.path["name"])
        return {"name": call.path["name"], "format": "DOCKER", "mode": "STANDARD_REPOSITORY"}

    def _list(self, call: Call) -> dict[str, Any]:
        self._require(call.member, "artifactregistry.repositories.list", call.path["parent"])
        names = [name for name in self.repositories if name.startswith(f"{call.path['parent']}/")]
        return {"repositories": [{"name": name, "format": "DOCKER"} for name in names]}

    def _tag(self, call: Call) -> dict[str, Any]:
        name = call.path["name"]
        self._require(call.member, "artifactregistry.tags.get", name)
        parent, _, tag = name.rpartition("/tags/")
        return {"name": name, "version": f"{parent}/versions/{self._named(parent, tag)}"}

    def _create_tag(self, call: Call) -> dict[str, Any]:
        parent, tag = call.path["parent"], call.query.get("tagId", "")
        self._require(call.member, "artifactregistry.tags.create", parent)
        package, digest = self._package(parent), call.body.get("version", "").rpartition("/")[2]
        if not tag or not call.body.get("version", "").startswith(f"{parent}/versions/"):
            raise Refused(400, "Invalid tag id or version.")
        if tag in package.tags:
            raise Refused(409, "the tag already exists")
        if digest not in package.versions:
            raise Refused(404, "Version not found.")
        package.tags[tag] = digest
        return {"name": f"{parent}/tags/{tag}", "version": call.body["version"]}

    def _delete_tag(self, call: Call) -> dict[str, Any]:
        self._require(call.member, "artifactregistry.tags.delete", call.path["name"])
        parent, _, tag = call.path["name"].rpartition("/tags/")
        self._named(parent, tag)
        del self._package(parent).tags[tag]
        return {}

    def _version(self, call: Call) -> dict[str, Any]:
        name = call.path["name"]
        self._require(call.member, "artifactregistry.versions.get", name)
        parent, _, digest = name.rpartition("/versions/")
        package = self._package(parent)
        if digest not in package.versions:
            raise Refused(404, "Version not found.")
        shown: dict[str, Any] = {"name": name, "createTime": package.versions[digest]}
        if call.query.get("view") == "FULL":
            tags = [tag for tag, version in package.tags.items() if version == digest]
            shown["relatedTags"] = [{"name": f"{parent}/tags/{tag}", "version": name} for tag in tags]
        return shown

    def _delete_version(self, call: Call) -> dict[str, Any]:
        name = call.path["name"]
        self._require(call.member, "artifactregistry.versions.delete", name)
        parent, _, digest = name.rpartition("/versions/")
        package = self._package(parent)
        if digest not in package.versions:
            raise Refused(404, "Version not found.")
        tags = [tag for tag, version in package.tags.items() if version == digest]
        if tags and call.query.get("force") != "true":
            raise Refused(400, "The version is tagged.", status="FAILED_PRECONDITION")
        for tag in tags:
            del package.tags[tag]
        del package.versions[digest]
        location = "/".join(name.split("/")[:4])
        return self._operations.begin(location, {}, dict)

    def _require(self, member: str, permission: str, name: str) -> None:
        repository = "/".join(name.split("/")[:6])
        self._account.require(member, permission, name, self._account.repositories[repository])

    def _named(self, parent: str, tag: str) -> str:
        package = self._package(parent)
        if tag not in package.tags:
            raise Refused(404, "Requested entity was not found.")
        return package.tags[tag]

    def _package(self, name: str) -> Package:
        repository, _, package = name.rpartition("/packages/")
        found = self._packages(repository).get(package)
        if found is None:
            raise Refused(404, "Requested entity was not found.")
        return found

    def _packages(self, repository: str) -> dict[str, Package]:
        if repository not in self.repositories:
            raise Refused(404, f'Repository "{repository}" not found.')
        return self.repositories[repository]

    def _parsed(self, image: str) -> tuple[str, str, str, str]:
        found = _IMAGE.fullmatch(image)
        if found is None:
            raise Refused(400, f"Invalid image name {image}.")
        location, project, repository, package, tag, digest = found.groups(default="")
        return f"projects/{project}/locations/{location}/repositories/{repository}", package, tag, digest
