"""What the customer has in Azure: groups and what is in them, identities and whom they trust, and who may do what."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import aiohttp
import jwt
from aiohttp import web

from tests.emulators.azure.answers import Problem, entra, not_found
from tests.emulators.azure.faults import Fault, effect_of
from tests.emulators.azure.roles import ROLES, allows
from tests.emulators.lost_answers import LostAnswers
from tests.emulators.oidc_issuer import audiences_of

DIRECTORY = "11111111-2222-3333-4444-555555555555"
SUBSCRIPTION = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
GROUP, LOCATION = "functions", "westeurope"
GROUP_PATH = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
REGISTRY, ENVIRONMENT = "acmefunctions", "acme"
ACCOUNT, CONTAINER = "acmefunctions", "dcf"
AUDIENCE = "api://AzureADTokenExchange"
_DISCOVERY = ".well-known/openid-configuration"
MANAGEMENT = "https://management.azure.com"
IDENTITY_TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"
NAMESPACES = ("Microsoft.App", "Microsoft.ContainerRegistry", "Microsoft.ManagedIdentity", "Microsoft.Storage")
DEPLOYER, PULLER = "dcf-deployer", "dcf-pull"


def path_of(kind: str, name: str) -> str:
    """The id of a resource in the customer's group."""
    return f"{GROUP_PATH}/providers/{kind}/{name}"


def client_of(path: str) -> str:
    """The application's id of a managed identity: the same for the same place, so that tests know it beforehand."""
    return str(uuid5(NAMESPACE_URL, f"client:{path.lower()}"))


def principal_of(path: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"principal:{path.lower()}"))


CLIENT = client_of(path_of(IDENTITY_TYPE, DEPLOYER))


@dataclass
class Identity:
    """A managed identity. `trusts` are its federated credentials: who signs, and of whom."""

    path: str
    client_id: str
    principal_id: str
    trusts: dict[str, tuple[str, str]] = field(default_factory=dict)
    audiences: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Customer:
    """`faults` are done to the next requests that fit; `trusts_all_of` is an issuer of whose subjects all are trusted."""

    identities: dict[str, Identity] = field(default_factory=dict)
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    assignments: set[tuple[str, str, str]] = field(default_factory=set)
    registered: set[str] = field(default_factory=lambda: {name.lower() for name in NAMESPACES})
    containers: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)  # Storage accounts that let nobody in from the internet.
    closed_registries: set[str] = field(default_factory=set)
    disabled: set[str] = field(default_factory=set)  # Applications, by their ids.
    trusts_all_of: str = ""
    spreading: bool = False
    tokens: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    page_items: int = 0  # As many of a list are answered at once; all, if none.
    answers: LostAnswers = field(default_factory=LostAnswers)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def make(self, kind: str, name: str, properties: dict[str, Any] | None = None, /, **rest: Any) -> dict[str, Any]:
        """Put a resource into the group, which is made with the first one."""
        self.groups[GROUP.lower()] = LOCATION
        path = path_of(kind, name)
        made = {"id": path, "name": name, "type": kind, "location": LOCATION, **rest}
        made["properties"] = {"provisioningState": "Succeeded", **(properties or {})}
        if kind == IDENTITY_TYPE:
            known = Identity(path, client_of(path), principal_of(path))
            self.identities.setdefault(path.lower(), known)
            made["properties"] = {"tenantId": DIRECTORY, "clientId": known.client_id, "principalId": known.principal_id}
        self.resources[path.lower()] = made
        return made

    def remove(self, path: str) -> None:
        """Take a resource away, and with it the roles given on it, and to it; of an account its containers too."""
        gone = self.resources.pop(path.lower())
        if gone["type"] == "Microsoft.Storage/storageAccounts":
            self.containers.clear()
        place, principal = f"{path.lower()}/", gone["properties"].get("principalId", "")
        self.assignments = {
            (who, role, scope)
            for who, role, scope in self.assignments
            if who != principal and not f"{scope}/".startswith(place)
        }

    def found(self, path: str) -> dict[str, Any]:
        """A resource. Raises Problem."""
        group = path.split("/")[4]
        if group.lower() not in self.groups:
            raise Problem(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        if path.lower() not in self.resources:
            raise not_found(path)
        return self.resources[path.lower()]

    def grant(self, role: str, scope: str = GROUP_PATH, *, to: str = "") -> None:
        """Give a role to a principal, the deploying identity's unless another is named."""
        assert role in ROLES, role
        self.assignments.add((to or principal_of(path_of(IDENTITY_TYPE, DEPLOYER)), role, scope.lower()))

    def take(self, role: str) -> None:
        """Take a role from everybody."""
        self.assignments = {one for one in self.assignments if one[1] != role}

    def may(self, principal: str, action: str, path: str, *, data: bool = False) -> bool:
        """Whether a role at the path, or above it, allows the action."""
        place = f"{path.lower()}/"
        return any(
            who == principal and place.startswith(f"{scope}/") and allows(role, action, data=data)
            for who, role, scope in self.assignments
        )

    def require(self, principal: str, action: str, path: str) -> None:
        """Raise Problem unless it is allowed."""
        if not self.may(principal, action, path):
            raise Problem(
                403,
                "AuthorizationFailed",
                f"The client '{principal}' with object id '{principal}' does not have authorization to perform action "
                f"'{action}' over scope '{path}' or the scope is invalid. If access was recently granted, please refresh "
                "your credentials.",
            )

    def trust(self, issuer: str, subject: str, *, name: str = "", audience: str = AUDIENCE) -> None:
        """Let whom this issuer calls so become the deploying identity."""
        identity = self.identities[path_of(IDENTITY_TYPE, DEPLOYER).lower()]
        identity.trusts[name or subject] = (issuer, subject)
        identity.audiences[name or subject] = [audience]

    async def token(self, request: web.Request) -> web.Response:
        """Entra's token endpoint."""
        form = await request.post()
        if request.match_info["directory"] != DIRECTORY:
            raise entra("invalid_request", 90002, "Tenant not found.")
        identity = next((one for one in self.identities.values() if one.client_id == form.get("client_id")), None)
        if identity is None:
            raise entra("unauthorized_client", 700016, "Application was not found in the directory.")
        if identity.client_id in self.disabled:
            raise entra("unauthorized_client", 7000112, "Application is disabled.")
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != kind:
            raise entra("invalid_request", 900144, "The request body must contain the parameter.")
        await self._check(str(form.get("client_assertion", "")), identity)
        scope = str(form.get("scope", ""))
        if not scope.endswith("/.default"):
            raise entra("invalid_scope", 70011, "The scope is not valid.")
        text = secrets.token_urlsafe(24)
        audience = scope.removesuffix("/.default").rstrip("/")
        self.tokens[text] = (audience, identity.principal_id, time.time() + 3599)
        return web.json_response(
            {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": text}
        )

    async def _check(self, assertion: str, identity: Identity) -> None:
        """The signature by the issuer's published keys, then audience, time, issuer and subject."""
        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
            issuer = str(claims["iss"])
        except (jwt.InvalidTokenError, KeyError):
            raise entra("invalid_client", 50027, "Invalid JWT token.") from None
        of_issuer = {name for name, (signs, _) in identity.trusts.items() if signs == issuer}
        issuers = {signs for signs, _ in identity.trusts.values()} | {self.trusts_all_of}
        if self.spreading or not issuers - {""}:
            raise entra("invalid_client", 70021, "No matching federated identity record found.")
        if issuer not in issuers:
            raise entra("invalid_client", 700211, "No matching federated identity record found for the issuer.")
        wanted = {one for name in of_issuer for one in identity.audiences[name]} or {AUDIENCE}
        if not wanted & set(audiences_of(claims)):
            raise entra("invalid_client", 700212, "No matching federated identity record found for the audience.")
        subjects = {identity.trusts[name][1] for name in of_issuer}
        if claims.get("sub") not in subjects and issuer != self.trusts_all_of:
            raise entra("invalid_client", 700213, "No matching federated identity record found for the subject.")
        try:
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{issuer}/{_DISCOVERY}") as answer:
                    address = (await answer.json())["jwks_uri"]
                async with session.get(address) as answer:
                    keys = jwt.PyJWKSet.from_dict(await answer.json())
            key = keys[jwt.get_unverified_header(assertion)["kid"]]
            jwt.decode(assertion, key, algorithms=["RS256"], audience=list(wanted), issuer=issuer)
        except (aiohttp.ClientError, KeyError):
            raise entra("invalid_request", 50166, "Request to External OIDC endpoint failed.") from None
        except jwt.ExpiredSignatureError:
            raise entra("invalid_client", 700024, "The assertion is not within its valid time range.") from None
        except jwt.InvalidTokenError:
            raise entra("invalid_client", 50013, "Assertion failed signature validation.") from None

    def holder(self, text: str, *audiences: str) -> str:
        """Whose token it is. Raises Problem (401) for none for these audiences."""
        audience, principal, until = self.tokens.get(text, ("", "", 0.0))
        if audience not in audiences or until < time.time():
            raise Problem(401, "InvalidAuthenticationToken", "The access token is invalid.")
        return principal

    def admit(self, request: web.Request, audience: str) -> str:
        """Who asks. Raises Problem (401) for a request without a token for the audience."""
        return self.holder(request.headers.get("Authorization", "").removeprefix("Bearer "), audience)

    @web.middleware
    async def meet(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """What every request meets: the faults asked for, and problems as answers."""
        self.asked.append((request.method, request.path))
        fault = next((one for one in self.faults if one.fits(request)), None)
        if fault is None and self.answers.takes(effect_of(request)):
            fault = Fault(request.method, "")
        if fault is not None:
            fault.times -= 1
            await asyncio.sleep(fault.seconds)
            if fault.status:
                headers = {"Retry-After": "1"} if fault.status in (429, 503) else {}
                body = {"error": fault.code, "error_codes": [fault.number]} if fault.number else None
                return Problem(fault.status, fault.code, body=body, headers=headers).response
        try:
            answer: web.StreamResponse = await handler(request)
        except Problem as problem:
            answer = problem.response
        if fault is not None and not fault.seconds:  # It had its effect, and nobody hears of it.
            assert request.transport is not None
            request.transport.abort()
        return answer

    def set_up(self) -> None:
        """Everything that functions are built and run with, the identity that deploys them, and its roles."""
        self.make_resources()
        self.make(IDENTITY_TYPE, DEPLOYER)
        for role in (
            "Reader",
            "Container Apps Contributor",
            "Container Apps Jobs Contributor",
            "Container Registry Tasks Contributor",
            "AcrPush",
            "AcrDelete",
            "Managed Identity Operator",
            "Storage Blob Data Contributor",
        ):
            self.grant(role)

    def make_resources(self) -> None:
        """What functions are built and run with."""
        self.make("Microsoft.Storage/storageAccounts", ACCOUNT)
        self.containers.add(CONTAINER)
        self.make(
            "Microsoft.ContainerRegistry/registries",
            REGISTRY,
            {"loginServer": f"{REGISTRY}.azurecr.io", "adminUserEnabled": False},
            sku={"name": "Basic", "tier": "Basic"},
        )
        domain = f"happysea-1a2b3c4d.{LOCATION}.azurecontainerapps.io"
        self.make("Microsoft.App/managedEnvironments", ENVIRONMENT, {"defaultDomain": domain})
        self.make(IDENTITY_TYPE, PULLER)
        registry = path_of("Microsoft.ContainerRegistry/registries", REGISTRY)
        self.grant("AcrPull", registry, to=principal_of(path_of(IDENTITY_TYPE, PULLER)))
