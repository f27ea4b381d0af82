"""A container registry's own door: the exchange of tokens, manifests by tag and by digest, and what Azure adds to them."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field

from aiohttp import web

from tests.emulators.azure.answers import Problem
from tests.emulators.azure.customer import Customer, path_of
from tests.emulators.registry import MANIFEST_TYPE as MANIFEST

AUDIENCE = "https://containerregistry.azure.net"
_KIND = "Microsoft.ContainerRegistry/registries"
_REFERENCE = re.compile(
    r"(?P<registry>[a-z0-9]+)\.azurecr\.io/(?P<repository>[^@:]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>.+))?"
)
# What each right of a scope asks of Resource Manager's roles.
_RIGHTS = {
    "pull": "pull/read",
    "push": "push/write",
    "delete": "artifacts/delete",
    "metadata_read": "pull/read",
}


@dataclass
class Repository:
    """`manifests` by digest, `tags` to digests; `made` says which image of the workshop a manifest is."""

    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)


class Images:
    """The images of all registries, by registry and repository."""

    def __init__(self, customer: Customer) -> None:
        self._customer = customer
        self._refresh: dict[str, str] = {}
        self._access: dict[str, tuple[str, str, set[str]]] = {}
        self.repositories: dict[tuple[str, str], Repository] = {}

    def push(self, registry: str, repository: str, tag: str, made: str, manifest: str | None) -> str:
        """Keep what the workshop made under a tag: its digest in the registry. Its manifest is made up where no registry
        is behind the workshop."""
        made_up = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": made}, "layers": []}
        content = (manifest or json.dumps(made_up)).encode()
        return self._keep(self._repository(registry, repository), tag, content, made)

    def pulled(self, principal: str, reference: str) -> str:
        """Which image of the workshop a reference names. Raises Problem, as who pulls it is told."""
        named = _REFERENCE.fullmatch(reference)
        if named is None:
            raise Problem(400, "InvalidImage", f"{reference}: could not parse reference")
        path = path_of(_KIND, named["registry"])
        if not self._customer.may(principal, f"{_KIND}/pull/read", path):
            raise Problem(
                401, "UNAUTHORIZED", f"GET https:?scope=repository: UNAUTHORIZED: {reference}: authentication required"
            )
        held = self.repositories.get((named["registry"], named["repository"]), Repository())
        digest = named["digest"] or held.tags.get(named["tag"] or "latest", "")
        if digest not in held.manifests:
            raise Problem(404, "MANIFEST_UNKNOWN", f"{reference}: MANIFEST_UNKNOWN: manifest is not found")
        return held.made[digest]

    def names(self) -> list[str]:
        """Every image by its tags."""
        return [
            f"image {repository}:{tag}"
            for (_, repository), held in self.repositories.items()
            for tag in held.tags or (["<untagged>"] if held.manifests else [])
        ]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        registry, path = request.match_info["registry"], request.match_info["path"]
        if path_of(_KIND, registry).lower() not in self._customer.resources and request.transport is not None:
            request.transport.abort()  # Nothing has the name of one that is not there.
        try:
            match path.split("/"):
                case ["oauth2", "exchange"]:
                    return await self._exchange(request, registry)
                case ["oauth2", "token"]:
                    return await self._token(request, registry)
                case ["v2", *repository, "manifests", reference]:
                    return await self._manifest(request, registry, "/".join(repository), reference)
                case ["acr", "v1", *repository, "_manifests", digest]:
                    return self._attributes(request, registry, "/".join(repository), digest)
                case ["acr", "v1", *repository, "_tags", tag]:
                    return self._untag(request, registry, "/".join(repository), tag)
                case _:
                    return web.json_response({"errors": [{"code": "NOT_FOUND", "message": path}]}, status=404)
        except Problem as problem:
            body = {"errors": [{"code": problem.code, "message": problem.message}]}
            return web.json_response(body, status=problem.status)

    async def _exchange(self, request: web.Request, registry: str) -> web.Response:
        if registry in self._customer.closed_registries:
            raise Problem(403, "DENIED", "client with IP '127.0.0.1' is not allowed access.")
        form = await request.post()
        if form.get("grant_type") != "access_token" or form.get("service") != f"{registry}.azurecr.io":
            raise Problem(400, "BAD_REQUEST", "the form is not that of an exchange")
        try:
            principal = self._customer.holder(str(form.get("access_token", "")), AUDIENCE)
        except Problem:
            raise Problem(401, "UNAUTHORIZED", "the access token is refused") from None
        text = secrets.token_urlsafe(24)
        self._refresh[text] = principal
        return web.json_response({"refresh_token": text})

    async def _token(self, request: web.Request, registry: str) -> web.Response:
        form = await request.post()
        principal = self._refresh.get(str(form.get("refresh_token", "")))
        kind, _, rest = str(form.get("scope", "")).partition(":")
        repository, _, wanted = rest.partition(":")
        if principal is None or kind != "repository" or form.get("grant_type") != "refresh_token":
            raise Problem(401, "UNAUTHORIZED", "the refresh token is refused")
        path = path_of(_KIND, registry)
        # What the roles do not allow is left out, and missed only when it is needed.
        rights = {one for one in wanted.split(",") if self._customer.may(principal, f"{_KIND}/{_RIGHTS[one]}", path)}
        text = secrets.token_urlsafe(24)
        self._access[text] = (registry, repository, rights)
        return web.json_response({"access_token": text})

    def _admit(self, request: web.Request, registry: str, repository: str, right: str) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        held = self._access.get(token)
        if held is None or held[:2] != (registry, repository):
            raise Problem(401, "UNAUTHORIZED", "authentication required, visit https://aka.ms/acr/authorization")
        if right not in held[2]:
            raise Problem(403, "DENIED", "requested access to the resource is denied")

    async def _manifest(self, request: web.Request, registry: str, name: str, reference: str) -> web.Response:
        rights = {"GET": "pull", "HEAD": "pull", "PUT": "push", "DELETE": "delete"}
        self._admit(request, registry, name, rights.get(request.method, ""))
        if request.method == "PUT":
            return await self._put(request, registry, name, reference)
        held = self.repositories.get((registry, name), Repository())
        digest = held.tags.get(reference, reference)
        if digest not in held.manifests:
            raise Problem(404, "MANIFEST_UNKNOWN", f"manifest tagged by {reference!r} is not found")
        if request.method == "DELETE":
            if reference in held.tags:
                raise Problem(405, "UNSUPPORTED", "a manifest is removed by its digest")
            del held.manifests[digest]
            held.tags = {tag: of for tag, of in held.tags.items() if of != digest}
            return web.Response(status=202)
        if MANIFEST not in request.headers.get("Accept", ""):
            raise Problem(404, "MANIFEST_UNKNOWN", "the manifest is of a type that is not accepted")
        headers = {"Docker-Content-Digest": digest, "Content-Type": MANIFEST}
        return web.Response(body=b"" if request.method == "HEAD" else held.manifests[digest], headers=headers)

    async def _put(self, request: web.Request, registry: str, name: str, reference: str) -> web.Response:
        content = await request.read()
        held = self._repository(registry, name)
        made = held.made.get(_digest(content))
        # Nobody pushes layers here: what is put is a manifest that is there, by another tag.
        if request.content_type != MANIFEST or made is None:
            raise Problem(400, "MANIFEST_INVALID", "the manifest is invalid, or names what is not there")
        digest = self._keep(held, reference, content, made)
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    def _attributes(self, request: web.Request, registry: str, name: str, digest: str) -> web.Response:
        self._admit(request, registry, name, "metadata_read")
        held = self.repositories.get((registry, name), Repository())
        if digest not in held.manifests:
            raise Problem(404, "MANIFEST_UNKNOWN", "manifest is not found")
        tags = sorted(tag for tag, of in held.tags.items() if of == digest)
        shown = {"digest": digest, "mediaType": MANIFEST, **({"tags": tags} if tags else {})}
        return web.json_response({"registry": f"{registry}.azurecr.io", "imageName": name, "manifest": shown})

    def _untag(self, request: web.Request, registry: str, name: str, tag: str) -> web.Response:
        self._admit(request, registry, name, "delete")
        held = self.repositories.get((registry, name), Repository())
        if request.method != "DELETE" or tag not in held.tags:
            raise Problem(404, "TAG_UNKNOWN", "the specified tag does not exist")
        del held.tags[tag]
        return web.Response(status=202)

    def _keep(self, held: Repository, tag: str, content: bytes, made: str) -> str:
        digest = _digest(content)
        held.manifests[digest], held.made[digest], held.tags[tag] = content, made, digest
        return digest

    def _repository(self, registry: str, name: str) -> Repository:
        return self.repositories.setdefault((registry.lower(), name), Repository())


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
