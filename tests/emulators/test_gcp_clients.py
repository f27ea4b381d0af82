"""Google's own clients before the emulator: it is right about them too, not only about us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import google.auth.transport.requests
import google_auth_httplib2
import httplib2
import httpx
import pytest
from google.auth import exceptions, identity_pool
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaInMemoryUpload

from domain.clouds import GcpIdentity
from providers.gcp.identity import SCOPE
from providers.issuer import Issuer, Keyring
from tests.emulators.background import Background
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.discovery import document
from tests.emulators.gcp.names import BUCKET, EMAIL, PROJECT, REGION, REPOSITORY
from tests.emulators.workshop import workshop
from tests.providers.grounds import HELLO, TOOLCHAIN_DIR, packed, sources, well_known
from tests.support import a

SECONDS_MAX = 30.0
_PARENT = f"projects/{PROJECT}/locations/{REGION}"
_IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/{REPOSITORY}/hello:theirs"


class _Token(identity_pool.SubjectTokenSupplier):
    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def get_subject_token(self, context: object, request: object) -> str:
        return self._token()


class Customer:
    """An account in the emulator, and Google's clients as its service account, by the token of another issuer."""

    def __init__(self, cloud: GcpCloud, issuer: Issuer, identity: GcpIdentity) -> None:
        self.cloud, self._issuer, self._identity = cloud, issuer, identity

    def credentials(self, audience: str = "") -> Any:
        sts, iam = (self.cloud.google.endpoints.replace("{service}", name) for name in ("sts", "iamcredentials"))
        return identity_pool.Credentials(  # type: ignore[no-untyped-call]
            audience=self._identity.audience,
            subject_token_type="urn:ietf:params:oauth:token-type:jwt",
            token_url=f"{sts}/v1/token",
            service_account_impersonation_url=f"{iam}/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken",
            subject_token_supplier=_Token(
                lambda: self._issuer.token(a.TENANT_ID, a.PROJECT_ID, audience or self._identity.audience)
            ),
            scopes=[SCOPE],
        )

    def client(self, service: str) -> Any:
        """Google's client of the service, made of the same document."""
        root = self.cloud.google.endpoints.replace("{service}", service)
        described = document(service)
        described = {**described, "rootUrl": f"{root}/", "baseUrl": f"{root}/{described['servicePath']}"}
        http = google_auth_httplib2.AuthorizedHttp(self.credentials(), http=httplib2.Http(timeout=20))
        return build_from_document(described, http=http)


@pytest.fixture(scope="module")
def customer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Customer]:
    folder = tmp_path_factory.mktemp("gcp")
    published = Background()
    issuer = Issuer(Keyring(folder / "keys.json"), lambda: f"http://127.0.0.1:{port}")
    port = published.serve(well_known(issuer))
    cloud = GcpCloud(workshop(folder / "cloud", TOOLCHAIN_DIR, real=False))
    cloud.prepare_for_all(issuer.issuer)
    told = cloud.identity
    identity = GcpIdentity(
        gcp_project_id=told["gcpProjectId"],
        service_account_email=told["serviceAccountEmail"],
        workload_identity_project_number=told["workloadIdentityProjectNumber"],
        workload_identity_pool=told["workloadIdentityPool"],
        workload_identity_provider=told["workloadIdentityProvider"],
    )
    try:
        yield Customer(cloud, issuer, identity)
    finally:
        cloud.close()
        published.close()


def _done(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + SECONDS_MAX
    while not (seen := look()).get("done"):
        assert time.monotonic() < end, seen
        time.sleep(0.05)
    assert "error" not in seen, seen
    return seen["response"]


def test_google_auth_becomes_the_service_account(customer: Customer) -> None:
    credentials = customer.credentials()

    credentials.refresh(google.auth.transport.requests.Request())

    assert credentials.valid
    with pytest.raises(exceptions.OAuthError):
        customer.credentials("api://other").refresh(google.auth.transport.requests.Request())


def test_a_function_is_built_run_and_taken_away_by_googles_client(customer: Customer) -> None:
    storage, cloudbuild, run = (customer.client(name) for name in ("storage", "cloudbuild", "run"))
    bundle = packed(sources(HELLO))
    media = MediaInMemoryUpload(bundle, mimetype="application/gzip", resumable=True)
    stored = storage.objects().insert(bucket=BUCKET, name="theirs/source.tar.gz", media_body=media).execute()
    builds, services = cloudbuild.projects().locations(), run.projects().locations()
    asked = {
        "source": {"storageSource": {"bucket": BUCKET, "object": stored["name"]}},
        "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "-t", _IMAGE, "."]}],
        "images": [_IMAGE],
        "serviceAccount": f"projects/{PROJECT}/serviceAccounts/{EMAIL}",
        "logsBucket": f"gs://{BUCKET}/theirs",
        "options": {"logging": "GCS_ONLY"},
    }

    begun = builds.builds().create(parent=_PARENT, body=asked).execute()
    built = _done(lambda: builds.operations().get(name=begun["name"]).execute())
    image = f"{_IMAGE.rpartition(':')[0]}@{built['results']['images'][0]['digest']}"
    body = {"template": {"serviceAccount": EMAIL, "containers": [{"image": image}]}, "invokerIamDisabled": True}
    begun = services.services().create(parent=_PARENT, serviceId="theirs", body=body).execute()
    made = _done(lambda: services.operations().get(name=begun["name"]).execute())
    answer = httpx.get(made["uri"], timeout=20)
    listed = services.services().list(parent=_PARENT).execute()["services"]
    begun = services.services().delete(name=made["name"]).execute()
    _done(lambda: services.operations().get(name=begun["name"]).execute())

    assert built["status"] == "SUCCESS"
    assert answer.text == "Hello, world!\n"
    assert [service["name"] for service in listed] == [made["name"]]
    with pytest.raises(HttpError) as gone:
        services.services().get(name=made["name"]).execute()
    assert gone.value.status_code == 404


def test_secrets_and_jobs_are_kept_and_told(customer: Customer) -> None:
    secrets = customer.client("secretmanager").projects().secrets()
    jobs = customer.client("cloudscheduler").projects().locations().jobs()
    job = f"{_PARENT}/jobs/theirs"

    secrets.create(parent=f"projects/{PROJECT}", secretId="theirs", body={"replication": {"automatic": {}}}).execute()
    name = f"projects/{PROJECT}/secrets/theirs"
    added = secrets.addVersion(parent=name, body={"payload": {"data": "b25l"}}).execute()
    opened = secrets.versions().access(name=added["name"]).execute()
    secrets.delete(name=name).execute()
    target = {"uri": "http://127.0.0.1:9/", "httpMethod": "POST"}
    jobs.create(
        parent=_PARENT, body={"name": job, "schedule": "*/5 * * * *", "timeZone": "UTC", "httpTarget": target}
    ).execute()
    with pytest.raises(HttpError) as twice:
        jobs.create(parent=_PARENT, body={"name": job, "schedule": "* * * * *", "httpTarget": target}).execute()
    jobs.delete(name=job).execute()

    assert opened["payload"]["data"] == "b25l"
    assert twice.value.status_code == 409
    assert jobs.list(parent=_PARENT).execute()["jobs"] == []


def test_what_google_would_not_take_is_not_taken(customer: Customer) -> None:
    services = customer.client("run").projects().locations().services()
    container = {"image": "nowhere", "resources": {"limits": {"memory": "16Mi"}}}

    with pytest.raises(HttpError) as refused:
        services.create(parent=_PARENT, serviceId="theirs", body={"template": {"containers": [container]}}).execute()

    assert refused.value.status_code == 400
