"""ECR: repositories whose images are those that a workshop made. Manifests are those of the registry behind them, where there
is one, and else made up, as what images are called by."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from tests.emulators.aws.account import Account, Session
from tests.emulators.aws.answers import Refused
from tests.emulators.registry import MANIFEST_TYPE

Given = dict[str, Any]


class Repository:
    """`manifests` by digest, `tags` to digests. `made` says which image of the workshop a digest is; `labels` are the
    repository's own tags."""

    def __init__(self, name: str, *, immutable: bool, labels: list[Given]) -> None:
        self.name, self.immutable, self.labels = name, immutable, labels
        self.policy = ""
        self.manifests: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.made: dict[str, str] = {}
        # Why nothing is deleted or given from now on: a code and a reason.
        self.holds: tuple[str, str] | None = None

    def push(self, made: str, tag: str, manifest: str | None = None) -> str:
        """Keep what the workshop made under a tag: its digest. Raises Refused for a tag that is taken."""
        manifest = manifest or json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": {"digest": made}, "layers": []}
        )
        digest = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
        self.check_tag(tag, digest)
        self.manifests[digest], self.made[digest], self.tags[tag] = manifest, made, digest
        return digest

    def check_tag(self, tag: str, digest: str) -> None:
        if self.immutable and self.tags.get(tag, digest) != digest:
            raise Refused("ImageTagAlreadyExistsException", f"The image tag '{tag}' already exists in the repository")


class Images:
    """The registry of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.repositories: dict[str, Repository] = {}
        self.methods = {
            "BatchDeleteImage": self._delete,
            "BatchGetImage": self._get,
            "CreateRepository": self._create,
            "DescribeImages": self._describe,
            "DescribeRepositories": self._list,
            "PutImage": self._put,
            "SetRepositoryPolicy": self._set_policy,
        }

    @property
    def host(self) -> str:
        return f"{self._account.id}.dkr.ecr.eu-west-1.amazonaws.com"

    def find(self, reference: str) -> tuple[Repository, str] | None:
        """The repository and the digest of `host/name:tag` or `host/name@digest`."""
        path = reference.removeprefix(f"{self.host}/")
        name, at, digest = path.partition("@")
        tag = ""
        if not at:
            name, _, tag = path.rpartition(":")
        repository = self.repositories.get(name)
        if repository is None:
            return None
        found = digest if at else repository.tags.get(tag, "")
        return (repository, found) if found in repository.manifests else None

    def _create(self, given: Given, session: Session | None) -> Given:
        name = given["repositoryName"]
        if name in self.repositories:
            raise Refused("RepositoryAlreadyExistsException", f"The repository with name '{name}' already exists")
        made = Repository(name, immutable=given.get("imageTagMutability") == "IMMUTABLE", labels=given.get("tags", []))
        self.repositories[name] = made
        return {"repository": self._shown(made)}

    def _list(self, given: Given, session: Session | None) -> Given:
        names = given.get("repositoryNames") or list(self.repositories)
        return {"repositories": [self._shown(self._repository(name)) for name in names]}

    def _set_policy(self, given: Given, session: Session | None) -> Given:
        self._named(given).policy = given["policyText"]
        return {"repositoryName": given["repositoryName"], "policyText": given["policyText"]}

    def _describe(self, given: Given, session: Session | None) -> Given:
        repository = self._named(given)
        digests = [self._digest(repository, one) for one in given.get("imageIds", [])]
        if missing := [one for one, found in zip(given.get("imageIds", []), digests, strict=True) if not found]:
            raise Refused("ImageNotFoundException", f"The image with imageId {missing[0]} does not exist")
        details = [
            {
                "repositoryName": repository.name,
                "imageDigest": digest,
                "imageTags": sorted(tag for tag, of in repository.tags.items() if of == digest),
                "imagePushedAt": datetime.now(UTC),
                "imageManifestMediaType": MANIFEST_TYPE,
            }
            for digest in digests or repository.manifests
        ]
        return {"imageDetails": details}

    def _get(self, given: Given, session: Session | None) -> Given:
        repository = self._named(given)
        images, failures = [], []
        for one in given["imageIds"]:
            digest = self._digest(repository, one)
            if digest and repository.holds is not None:
                code, reason = repository.holds
                failures.append({"imageId": one, "failureCode": code, "failureReason": reason})
            elif digest:
                images.append(self._image(repository, digest, one.get("imageTag")))
            else:
                failures.append({"imageId": one, "failureCode": "ImageNotFound", "failureReason": "not found"})
        return {"images": images, "failures": failures}

    def _put(self, given: Given, session: Session | None) -> Given:
        repository, manifest, tag = self._named(given), given["imageManifest"], given.get("imageTag")
        digest = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
        if given.get("imageDigest", digest) != digest:
            raise Refused("ImageDigestDoesNotMatchException", "The digest is not the manifest's.")
        if digest in repository.manifests and repository.tags.get(tag or "") == digest:
            raise Refused("ImageAlreadyExistsException", f"Image with digest '{digest}' and tag '{tag}' already exists")
        repository.check_tag(tag or "", digest)
        repository.manifests[digest] = manifest
        if tag:
            repository.tags[tag] = digest
        return {"image": self._image(repository, digest, tag)}

    def _delete(self, given: Given, session: Session | None) -> Given:
        """A tag takes the image along when it is the last one."""
        repository = self._named(given)
        deleted, failures = [], []
        for one in given["imageIds"]:
            digest = self._digest(repository, one)
            if not digest:
                failures.append({"imageId": one, "failureCode": "ImageNotFound", "failureReason": "not found"})
                continue
            if repository.holds is not None:
                code, reason = repository.holds
                failures.append({"imageId": one, "failureCode": code, "failureReason": reason})
                continue
            if "imageTag" in one:
                repository.tags.pop(one["imageTag"], None)
            if digest not in repository.tags.values() or "imageTag" not in one:
                repository.manifests.pop(digest, None)
                repository.tags = {tag: of for tag, of in repository.tags.items() if of != digest}
            deleted.append({"imageDigest": digest, **one})
        return {"imageIds": deleted, "failures": failures}

    def _named(self, given: Given) -> Repository:
        return self._repository(given["repositoryName"])

    def _repository(self, name: str) -> Repository:
        if name not in self.repositories:
            raise Refused("RepositoryNotFoundException", f"The repository with name '{name}' does not exist")
        return self.repositories[name]

    def _digest(self, repository: Repository, one: Given) -> str:
        found = one.get("imageDigest") or repository.tags.get(one.get("imageTag", ""), "")
        return found if found in repository.manifests else ""

    def _image(self, repository: Repository, digest: str, tag: str | None) -> Given:
        return {
            "repositoryName": repository.name,
            "imageId": {"imageDigest": digest, **({"imageTag": tag} if tag else {})},
            "imageManifest": repository.manifests[digest],
            "imageManifestMediaType": MANIFEST_TYPE,
        }

    def _shown(self, repository: Repository) -> Given:
        return {
            "repositoryArn": self._account.arn("ecr", f"repository/{repository.name}"),
            "repositoryName": repository.name,
            "repositoryUri": f"{self.host}/{repository.name}",
            "imageTagMutability": "IMMUTABLE" if repository.immutable else "MUTABLE",
        }
