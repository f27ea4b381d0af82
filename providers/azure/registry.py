"""Images in the registry: each deployment's carries its id as a tag."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

import msgspec

from providers.azure import naming, roles
from providers.azure.account import Account, target_of
from providers.azure.errors import Answered, command, grant
from providers.azure.identity import REGISTRY, AccessToken
from providers.azure.wire import Reply
from providers.provider import Image, Order, ProviderRefused, ProviderUnreachable

REGISTRY_VERSION = "2023-07-01"

MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
# A registry's own tokens are valid longer; one is asked for anew after this.
TOKEN_SECONDS = 600.0
KEPT_MAX = 1000
_DIGEST = "docker-content-digest"


class _Refresh(msgspec.Struct):
    refresh_token: str


class _Access(msgspec.Struct):
    access_token: str


class _Manifest(msgspec.Struct):
    tags: list[str] | None = None


class _Attributes(msgspec.Struct):
    manifest: _Manifest = msgspec.field(default_factory=_Manifest)


class Passes:
    """The registries' own tokens, by account and repository. At most KEPT_MAX are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, str, str], AccessToken] = OrderedDict()

    async def of(self, account: Account, registry: str, repository: str) -> str:
        """A token that opens one repository: the application's own is exchanged for it."""
        place = (account.whose, registry, repository)
        kept = self._kept.get(place)
        if kept is not None and kept.expires_at > time.monotonic():
            return kept.text
        root, server = account.wire.registry(registry), f"{registry.lower()}.azurecr.io"
        form = {"grant_type": "access_token", "service": server, "access_token": await account.token(REGISTRY)}
        refresh = await self._exchanged(account, registry, form)
        form = {
            "grant_type": "refresh_token",
            "service": server,
            "scope": f"repository:{repository}:pull,push,delete,metadata_read",
            "refresh_token": refresh.refresh_token,
        }
        access = (await account.wire.call("POST", f"{root}/oauth2/token", form=form)).read(_Access)
        self._kept[place] = AccessToken(access.access_token, time.monotonic() + TOKEN_SECONDS)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return access.access_token

    async def _exchanged(self, account: Account, registry: str, form: dict[str, str]) -> _Refresh:
        try:
            reply = await account.wire.call("POST", f"{account.wire.registry(registry)}/oauth2/exchange", form=form)
        except Answered as error:
            if error.http_status == 401:
                account.forget_token(REGISTRY)
            if error.http_status == 403:  # Whoever has a token is let in here, wherefrom it is allowed.
                raise _closed(account, registry, error) from error
            raise
        return reply.read(_Refresh)

    def forget(self, account: Account, registry: str, repository: str) -> None:
        self._kept.pop((account.whose, registry, repository), None)


def _closed(account: Account, registry: str, error: Answered) -> ProviderRefused:
    subscription = account.identity.subscription_id
    return ProviderRefused(
        "AZURE_REGISTRY_FIREWALL",
        f"The registry {registry} lets nobody in from this service's network: {error.message}",
        command(
            *("az", "acr", "update", "--subscription", subscription, "--name", registry),
            *("--public-network-enabled", "true", "--default-action", "Allow"),
        ),
    )


class Images:
    """The images of one order, as one account sees them."""

    def __init__(self, account: Account, passes: Passes, order: Order) -> None:
        self._account, self._passes = account, passes
        self._target, self._repository, self._tag = target_of(order), naming.repository(order), naming.tag(order)

    async def find(self) -> Image | None:
        """What carries the deployment's tag."""
        reply = await self._found("HEAD", f"/v2/{self._repository}/manifests/{self._tag}", accept=MANIFESTS)
        return None if reply is None else self._image(reply.headers.get(_DIGEST, ""))

    async def keeps(self, digest: str) -> bool:
        """Whether the function's image of this digest is still there."""
        path = f"/v2/{self._repository}/manifests/{digest}"
        return await self._found("HEAD", path, accept=MANIFESTS) is not None

    async def name(self, digest: str) -> Image:
        """Put the deployment's tag on an image that another one built, so that it stays while either needs it."""
        manifest = await self._call("GET", f"/v2/{self._repository}/manifests/{digest}", accept=MANIFESTS)
        await self._call(
            "PUT",
            f"/v2/{self._repository}/manifests/{self._tag}",
            content=manifest.content,
            content_type=manifest.headers.get("content-type", ""),
        )
        return self._image(digest)

    async def remove(self) -> None:
        """Take the deployment's tag away, and the image too when no other deployment has one on it. In a registry that the
        customer removed there is none."""
        try:
            found = await self.find()
        except ProviderUnreachable:
            if await self._is_there():  # Else nothing has its name.
                raise
            return
        if found is None:
            return
        place = f"/acr/v1/{self._repository}"
        seen = await self._found("GET", f"{place}/_manifests/{found.digest}")
        tags = seen.read(_Attributes).manifest.tags if seen else None
        if tags is not None and set(tags) <= {self._tag}:
            await self._found("DELETE", f"/v2/{self._repository}/manifests/{found.digest}")
        else:
            await self._found("DELETE", f"{place}/_tags/{self._tag}")

    async def _is_there(self) -> bool:
        path = naming.registry_path(self._target)
        return await self._account.found("GET", path, REGISTRY_VERSION, dict[str, Any]) is not None

    def _image(self, digest: str) -> Image:
        return Image(reference=f"{naming.login_server(self._target)}/{self._repository}@{digest}", digest=digest)

    async def _found(self, method: str, path: str, *, accept: str = "") -> Reply | None:
        try:
            return await self._call(method, path, accept=accept)
        except Answered as error:
            if error.http_status == 404:
                return None
            raise

    async def _call(
        self, method: str, path: str, *, accept: str = "", content: bytes | None = None, content_type: str = ""
    ) -> Reply:
        headers: dict[str, Any] = {"Accept": accept} if accept else {}
        if content_type:
            headers["Content-Type"] = content_type
        registry = self._target.registry
        url = f"{self._account.wire.registry(registry)}{path}"
        for is_fresh in (False, True):
            token = await self._passes.of(self._account, registry, self._repository)
            try:
                return await self._account.wire.call(method, url, token=token, headers=headers, content=content)
            except Answered as error:
                if error.http_status not in (401, 403):
                    raise
                # A kept pass may be over, or older than a role: a new one tells.
                self._passes.forget(self._account, registry, self._repository)
                if is_fresh:
                    raise self._denied(method, error) from error
        raise AssertionError("a call is answered, or raises")

    def _denied(self, method: str, error: Answered) -> ProviderRefused:
        role = roles.REMOVER if method == "DELETE" else roles.PUSHER
        return ProviderRefused(
            "AZURE_PERMISSION_DENIED",
            f"The registry {self._target.registry} does not let the application {method} here: {error.message}",
            grant(role.name, naming.registry_path(self._target), self._account.identity),
        )
