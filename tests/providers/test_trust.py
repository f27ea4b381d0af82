"""Whom the clouds trust, each before its own emulator: one project's tokens alone, while our keys change, and a pod's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import pytest_asyncio

from providers.aws.provider import AwsProvider
from providers.azure.provider import AzureProvider
from providers.gcp.provider import GcpProvider
from providers.issuer import ANNOUNCED_SECONDS, SIGNS_SECONDS, Issuer, Keyring, ProjectedToken, TokenSource
from providers.provider import Finding
from tests.emulators.aws.cloud import AwsCloud
from tests.emulators.azure.cloud import AzureCloud
from tests.emulators.background import Background
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.names import EMAIL, POOL, PROVIDER
from tests.emulators.oidc_issuer import OidcIssuer
from tests.providers.grounds import GROUNDS, Ground, well_known

pytestmark = pytest.mark.asyncio(loop_scope="module")

TENANT, PROJECT = uuid4(), uuid4()
POD = "system:serviceaccount:dcf:service"


class Place(msgspec.Struct, frozen=True):
    """A cloud whose trust is set anew by each test."""

    ground: Ground
    cloud: AwsCloud | AzureCloud | GcpCloud

    @property
    def audience(self) -> str:
        """Whom tokens for this cloud are for."""
        match self.cloud:
            case AwsCloud():
                return "sts.amazonaws.com"
            case AzureCloud():
                return "api://AzureADTokenExchange"
            case GcpCloud():
                return str(self.ground.identity.audience)  # type: ignore[union-attr] # it is one of Google's

    def trust_only(self, issuer: str, subject: str) -> None:
        """Let this subject in, and nobody else."""
        match self.cloud:
            case AwsCloud():
                iam = self.cloud.amazon.client("iam")
                for known in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
                    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=known["Arn"])
                iam.create_open_id_connect_provider(Url=issuer, ClientIDList=[self.audience])
                self.cloud.trust(issuer, subject)
            case AzureCloud():
                self.cloud.customer.trusts_all_of = ""
                for identity in self.cloud.customer.identities.values():
                    identity.trusts.clear()
                self.cloud.customer.trust(issuer, subject)
            case GcpCloud():
                self.cloud.account.service_accounts[EMAIL].bindings["roles/iam.workloadIdentityUser"].clear()
                self.cloud.account.pools[POOL].providers[PROVIDER].issuer = issuer
                self.cloud.prepare(issuer, subject)

    async def look(self, source: TokenSource, tenant: UUID = TENANT, project: UUID = PROJECT) -> Finding:
        """What comes of showing the cloud this source's token."""
        provider = self._shown_by(source)
        try:
            return await provider.verify_identity(tenant, project, self.ground.identity)
        finally:
            await provider.close()

    def _shown_by(self, source: TokenSource) -> AwsProvider | AzureProvider | GcpProvider:
        match self.cloud:
            case AwsCloud():
                return AwsProvider(source, self.cloud.amazon.endpoints)
            case AzureCloud():
                return AzureProvider(source, self.cloud.azure.endpoints)
            case GcpCloud():
                return GcpProvider(source, self.cloud.google.endpoints)


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=("aws", "azure", "gcp"))
async def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with GROUNDS[request.param](tmp_path_factory.mktemp(request.param)) as ground:
        assert isinstance(ground.cloud, AwsCloud | AzureCloud | GcpCloud)
        yield Place(ground, ground.cloud)


class Clock:
    """Of the keys alone: what a token says of its time is true."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def published() -> Any:
    """Serves what an issuer publishes."""
    background = Background()
    yield background
    background.close()


@pytest.fixture
def issuer(published: Background, tmp_path: Path) -> tuple[Issuer, Clock]:
    clock = Clock()
    made = Issuer(Keyring(tmp_path / "keys.json", clock=clock), lambda: f"http://127.0.0.1:{port}")
    port = published.serve(well_known(made))
    return made, clock


class Held:
    """One token of an issuer, shown again and again."""

    def __init__(self, source: Issuer, audience: str) -> None:
        self._source, self._text = source, source.token(TENANT, PROJECT, audience)
        self.issuer, self.keys_url = source.issuer, source.keys_url

    def subject(self, tenant_id: UUID, project_id: UUID) -> str:
        return self._source.subject(tenant_id, project_id)

    def token(self, tenant_id: UUID, project_id: UUID, audience: str) -> str:
        return self._text


async def test_one_projects_trust_opens_nothing_to_another_project_or_tenant(
    place: Place, issuer: tuple[Issuer, Clock]
) -> None:
    ours, _ = issuer
    place.trust_only(ours.issuer, ours.subject(TENANT, PROJECT))

    own = await place.look(ours)
    others = [await place.look(ours, *whose) for whose in ((TENANT, uuid4()), (uuid4(), PROJECT))]

    assert own.status == "verified", own
    for finding in others:
        [step] = [one for one in finding.steps if one.code]
        assert (finding.status == "verified", bool(step.remedy)) == (False, True), finding


async def test_a_change_of_our_keys_is_noticed_by_nobody_and_one_that_went_proves_nothing(
    place: Place, issuer: tuple[Issuer, Clock]
) -> None:
    """*Method:* a token of the key before is shown while the next key is announced, signs, and is the only one."""
    ours, clock = issuer
    place.trust_only(ours.issuer, ours.subject(TENANT, PROJECT))

    def shown() -> list[str]:
        return [key["kid"] for key in ours.jwks()["keys"]]

    clock.ahead = -(SIGNS_SECONDS + 10)
    first = shown()
    clock.ahead = -(ANNOUNCED_SECONDS + 1)
    announced, before = shown(), Held(ours, place.audience)
    findings = [await place.look(before), await place.look(ours)]
    clock.ahead = 0.0
    changed = shown()
    findings += [await place.look(before), await place.look(ours)]
    clock.ahead = 2 * 86_400.0
    after = [await place.look(before), await place.look(ours)]

    assert [finding.status for finding in findings] == ["verified"] * 4, findings
    assert (len(first), len(announced), changed) == (1, 2, announced)
    assert shown() == [kid for kid in announced if kid not in first]
    assert [finding.status == "verified" for finding in after] == [False, True], after


async def test_a_pods_own_token_is_taken_in_place_of_ours(place: Place, published: Background, tmp_path: Path) -> None:
    """*Method:* a cluster's issuer signs what Kubernetes projects into a file; the cloud trusts the pod's service account."""
    cluster = OidcIssuer()
    cluster.url = f"http://127.0.0.1:{published.serve(cluster.application())}"
    file = tmp_path / "token"
    file.write_text(cluster.token(POD, aud=[place.audience]))
    source = ProjectedToken(file)
    place.trust_only(source.issuer, source.subject(TENANT, PROJECT))

    verified = await place.look(source)
    file.write_text(cluster.token("system:serviceaccount:other:pod", aud=[place.audience]))
    another = await place.look(source)
    file.write_text(cluster.token(POD, aud=["elsewhere"]))
    elsewhere = await place.look(source)

    assert verified.status == "verified", verified
    assert another.status != "verified", another
    assert (elsewhere.status, elsewhere.steps[0].code) == ("failed", "OWN_TOKEN_UNAVAILABLE")
    assert place.audience in elsewhere.steps[0].message
