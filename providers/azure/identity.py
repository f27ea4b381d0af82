"""From our own token to access tokens of the customer's application in Entra, without any secret of theirs."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

import msgspec

from domain.clouds import AzureIdentity
from providers.azure.errors import BUSY_SECONDS, Answered, command, told
from providers.azure.wire import Wire
from providers.issuer import TokenSource, TokenUnavailable
from providers.provider import ProviderBusy, ProviderRefused

AUDIENCE = "api://AzureADTokenExchange"
MANAGEMENT = "https://management.azure.com/.default"
STORAGE = "https://storage.azure.com/.default"
REGISTRY = "https://containerregistry.azure.net/.default"
# A token with less than this left is replaced before it is used.
LEFT_SECONDS_MIN = 300.0
CACHED_MAX = 3000
PROPAGATING_SECONDS = 15.0
ISSUER_UNREACHABLE = "AZURE_ISSUER_UNREACHABLE"

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Whose = tuple[UUID, UUID, AzureIdentity]


class AccessToken(msgspec.Struct, frozen=True):
    """`expires_at` is in seconds since 1970."""

    text: str
    expires_at: float

    def __repr__(self) -> str:
        return "AccessToken(********)"


class MayPass(ProviderBusy):
    """Entra does not know the federated credential, or cannot reach our keys. While the one spreads, or the other is
    away for a moment, that is no refusal; `refused` is what it is then."""

    def __init__(self, refused: ProviderRefused) -> None:
        super().__init__(f"{refused.message} {refused.remedy}", retry_in_seconds=PROPAGATING_SECONDS)
        self.refused = refused


class _Issued(msgspec.Struct):
    access_token: str
    expires_in: int


class Tokens:
    """Access tokens by tenant, project, identity and scope, kept until they are nearly over. At most CACHED_MAX are kept."""

    def __init__(self, wire: Wire, source: TokenSource, *, clock: Callable[[], float] = time.time) -> None:
        self._wire, self._source, self._clock = wire, source, clock
        self._kept: OrderedDict[tuple[Whose, str], AccessToken] = OrderedDict()
        self._turns: dict[tuple[Whose, str], asyncio.Lock] = {}

    async def of(self, whose: Whose, scope: str) -> str:
        """A token of the application. Raises ProviderRefused with the command that mends it, or ProviderBusy."""
        place = (whose, scope)
        if (kept := self._fresh(place)) is not None:
            return kept
        try:
            async with self._turns.setdefault(place, asyncio.Lock()):
                if (kept := self._fresh(place)) is not None:
                    return kept
                made = await self.exchange(self.own(*whose), whose, scope)
                self._keep(place, made)
                return made.text
        finally:
            self._turns.pop(place, None)

    def forget(self, whose: Whose, scope: str) -> None:
        """Azure did not take it any more."""
        self._kept.pop((whose, scope), None)

    def own(self, tenant_id: UUID, project_id: UUID, _identity: AzureIdentity) -> str:
        """Our token for Entra. Raises ProviderRefused."""
        try:
            return self._source.token(tenant_id, project_id, AUDIENCE)
        except TokenUnavailable as error:
            raise ProviderRefused(
                "OWN_TOKEN_UNAVAILABLE", str(error), "The operator of this service mends it."
            ) from error

    async def exchange(self, own: str, whose: Whose, scope: str) -> AccessToken:
        """The access token that Entra gives for ours. Raises ProviderRefused, or ProviderBusy (MayPass)."""
        identity = whose[2]
        form = {
            "grant_type": "client_credentials",
            "client_id": identity.client_id,
            "scope": scope,
            "client_assertion_type": _ASSERTION,
            "client_assertion": own,
        }
        url = f"{self._wire.login}/{identity.azure_tenant_id}/oauth2/v2.0/token"
        try:
            issued = (await self._wire.call("POST", url, form=form)).read(_Issued)
        except Answered as error:
            raise self._not_issued(error, whose) from error
        return AccessToken(issued.access_token, self._clock() + issued.expires_in)

    def credential_command(self, whose: Whose) -> str:
        """What lets exactly this project of this tenant become the managed identity."""
        tenant_id, project_id, identity = whose
        known = f"az identity list --subscription {identity.subscription_id} --output tsv --query \"[?clientId=='{identity.client_id}']"
        return " ".join(
            (
                f"az identity federated-credential create --subscription {identity.subscription_id} --name dcf-{project_id}",
                f'--identity-name "$({known}.name")" --resource-group "$({known}.resourceGroup")"',
                command("--issuer", self._source.issuer, "--subject", self._source.subject(tenant_id, project_id)),
                command("--audiences", AUDIENCE),
            )
        )

    def _not_issued(self, error: Answered, whose: Whose) -> ProviderBusy | ProviderRefused:
        identity = whose[2]
        if error.http_status == 429 or error.http_status >= 500:
            return told(error, identity)
        if _PASSING.intersection(error.numbers) or error.code == "temporarily_unavailable":
            return ProviderBusy(f"Entra is busy: {error.message}", retry_in_seconds=BUSY_SECONDS)
        if 70021 in error.numbers:
            return MayPass(
                ProviderRefused(
                    "AZURE_CREDENTIAL_MISSING",
                    "Entra does not know the federated credential: it is not there, or has not spread yet (up to ten "
                    "minutes).",
                    self._trust_remedy(whose),
                )
            )
        for number in error.numbers:
            if number in _REFUSALS:
                code, said = _REFUSALS[number]
                refused = ProviderRefused(code, f"{said} ({error.message})", self._remedy(code, whose))
                # It may be the network's fault for a moment, on Entra's side or ours.
                return MayPass(refused) if code == ISSUER_UNREACHABLE else refused
        if error.numbers or error.code in ("invalid_client", "unauthorized_client", "invalid_request"):
            return ProviderRefused("AZURE_TOKEN_REFUSED", error.message, self._trust_remedy(whose))
        return told(error, identity)

    def _remedy(self, code: str, whose: Whose) -> str:
        match code:
            case "AZURE_APPLICATION_NOT_FOUND":
                return "Give the clientId that the template's outputs show: POST …/azure/wif/register, then deploy it."
            case "AZURE_APPLICATION_DISABLED":
                return command("az", "ad", "sp", "update", "--id", whose[2].client_id, "--set", "accountEnabled=true")
            case "AZURE_TENANT_NOT_FOUND":
                return (
                    "Give the directory's id, as `az account show --query tenantId` shows it. Those of Azure China and Azure "
                    "Government are not reached."
                )
            case _ if code == ISSUER_UNREACHABLE:
                return (
                    f"Let the internet reach {self._source.issuer}/.well-known/openid-configuration (DCF_PUBLIC_URL)."
                )
            case "AZURE_NATIONAL_CLOUD":
                return "Name a directory of Azure's public cloud: this service reaches no other one."
            case "AZURE_CLOCK":
                return "Set this service's clock right."
            case "AZURE_CONDITIONAL_ACCESS":
                return "Exempt the workload identity from the policy, or allow this service's address."
            case _:
                return self._trust_remedy(whose)

    def _trust_remedy(self, whose: Whose) -> str:
        return f"Deploy the template of POST …/azure/wif/register, or: {self.credential_command(whose)}"

    def _fresh(self, place: tuple[Whose, str]) -> str | None:
        kept = self._kept.get(place)
        if kept is None or kept.expires_at - self._clock() < LEFT_SECONDS_MIN:
            return None
        self._kept.move_to_end(place)
        return kept.text

    def _keep(self, place: tuple[Whose, str], token: AccessToken) -> None:
        self._kept[place] = token
        while len(self._kept) > CACHED_MAX:
            self._kept.popitem(last=False)


# Of these Entra's pages say that they pass: it did not come to a decision.
_PASSING = frozenset({50033, 90006, 90012, 90024, 90033, 90055})
_NATIONAL = ("AZURE_NATIONAL_CLOUD", "The directory is one of Azure China or Azure Government.")
# Entra's numbers (AADSTS…), what we call them, and what they mean.
_REFUSALS = {
    700016: ("AZURE_APPLICATION_NOT_FOUND", "There is no such application in the directory."),
    7000229: ("AZURE_APPLICATION_NOT_FOUND", "There is no such application in the directory."),
    7000112: ("AZURE_APPLICATION_DISABLED", "The application is disabled."),
    90002: ("AZURE_TENANT_NOT_FOUND", "There is no such directory."),
    900023: ("AZURE_TENANT_NOT_FOUND", "There is no such directory."),
    90038: _NATIONAL,
    900382: _NATIONAL,
    900432: _NATIONAL,
    900439: _NATIONAL,
    700211: ("AZURE_ISSUER_DIFFERS", "The federated credential names another issuer."),
    700212: ("AZURE_AUDIENCE_DIFFERS", "The federated credential names another audience."),
    700213: ("AZURE_SUBJECT_DIFFERS", "The federated credential names another subject."),
    700024: ("AZURE_CLOCK", "Entra takes the token for not valid at this time."),
    50166: (ISSUER_UNREACHABLE, "Entra cannot fetch this service's keys."),
    501661: (ISSUER_UNREACHABLE, "Entra cannot fetch this service's keys."),
    50013: ("AZURE_SIGNATURE_REFUSED", "Entra does not accept the token's signature."),
    500137: ("AZURE_SIGNATURE_REFUSED", "Entra does not accept the token's signature."),
    700027: ("AZURE_SIGNATURE_REFUSED", "Entra does not accept the token's signature."),
    53003: ("AZURE_CONDITIONAL_ACCESS", "A policy of conditional access blocks the application."),
}
