"""Google Cloud and its customer, for the journey: a project set up as the service says, broken and mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from domain.clouds import ProviderName
from tests.emulators.background import Background
from tests.emulators.cloud import Break
from tests.emulators.gcp.account import Account
from tests.emulators.gcp.kubernetes import KubernetesApi
from tests.emulators.gcp.server import Google
from tests.emulators.gcp.shell import Shell
from tests.emulators.images import Workshop
from tests.support.service import HELLO

PROJECT, NUMBER, REGION = "acme-prod", "123456789012", "europe-west1"
POOL, PROVIDER, BUCKET, REPOSITORY = "dcf-pool", "dcf-provider", "acme-functions", "functions"
_POOL_NAME = f"projects/{NUMBER}/locations/global/workloadIdentityPools/{POOL}"
EMAIL = f"dcf@{PROJECT}.iam.gserviceaccount.com"
ROLES = (
    "roles/run.admin",
    "roles/cloudbuild.builds.editor",
    "roles/artifactregistry.repoAdmin",
    "roles/logging.viewer",
    "roles/secretmanager.admin",
    "roles/cloudscheduler.admin",
    "roles/container.developer",
)


class GcpCloud:
    """The project is empty until it is prepared."""

    name: ProviderName = "gcp"
    connect = "gcp/wif/connect"
    verify = "gcp/wif/verify"
    diagnose = "gcp/wif/diagnostics"
    diagnosed: Mapping[str, Any] = {}
    bucket = "gcp/bucket"
    identity: Mapping[str, Any] = {
        "gcpProjectId": PROJECT,
        "serviceAccountEmail": EMAIL,
        "workloadIdentityProjectNumber": NUMBER,
        "workloadIdentityPool": POOL,
        "workloadIdentityProvider": PROVIDER,
    }
    storage: Mapping[str, Any] = {"bucket": BUCKET}

    def __init__(self, workshop: Workshop) -> None:
        self._workshop, self._background = workshop, Background()
        self.account = Account(PROJECT, NUMBER)
        self.google = Google(self.account, workshop, self._background)
        self._background.run(self.google.open())
        self.shell = Shell(
            self.account,
            lambda name: self._background.run(self.google.buckets.make(name)),
            self.google.registry.make,
            self.google.clusters,
        )
        self.make_cluster("functions")
        self._issuer = ""

    @property
    def settings(self) -> Mapping[str, str]:
        return {"DCF_GCP_ENDPOINTS": self.google.endpoints}

    @property
    def stands_in_for(self) -> str:
        return self._workshop.stands_in_for

    def target(self, name: str) -> dict[str, Any]:
        return {
            "projectId": PROJECT,
            "region": REGION,
            "artifactRepository": REPOSITORY,
            "runtimeTarget": "cloud_run",
            "serviceName": name,
        }

    def prepare(self, issuer: str, subject: str) -> None:
        if not self._issuer:
            self._issuer = issuer
            self._set_up()
        self._bind(f"principal://iam.googleapis.com/{_POOL_NAME}/subject/{subject}")

    def prepare_for_all(self, issuer: str) -> None:
        """The same for the tokens of any project."""
        self._issuer = issuer
        self._set_up()
        self._bind(f"principalSet://iam.googleapis.com/{_POOL_NAME}/*")

    def breaks(self) -> tuple[Break, ...]:
        sa = self.account.service_accounts
        bindings, project = dict(sa[EMAIL].bindings), self.account.policy
        member = f"serviceAccount:{EMAIL}"

        def broken(what: str, act: Callable[[], object], asked: Any, step: str, code: str) -> Break:
            return Break(what=what, act=act, asked=asked, step=step, code=code, mend=self.shell.obey)

        def without_binding() -> None:
            sa[EMAIL].bindings["roles/iam.workloadIdentityUser"].clear()

        def without_provider() -> None:
            self.account.pools[POOL].clear()

        def without_right_to_the_bucket() -> None:
            self.account.buckets[BUCKET].bindings.clear()

        def without_api(service: str) -> Callable[[], None]:
            return lambda: self.account.apis.discard(service)

        def without_account() -> None:
            del sa[EMAIL]

        def with_the_account_again(remedy: str) -> None:
            self.shell.obey(remedy)
            sa[EMAIL].bindings.update(bindings)

        identity, token = "identity", "WORKLOAD_IDENTITY_TOKEN_REFUSED"
        return (
            broken(
                "no pool", self.account.pools.clear, identity, "token_exchange", "WORKLOAD_IDENTITY_PROVIDER_NOT_FOUND"
            ),
            broken(
                "no provider",
                without_provider,
                identity,
                "token_exchange",
                "WORKLOAD_IDENTITY_PROVIDER_NOT_FOUND",
            ),
            broken("another issuer", lambda: self._set_issuer("http://127.0.0.1:9"), identity, "token_exchange", token),
            broken("another audience", lambda: self._set_audience("api://other"), identity, "token_exchange", token),
            broken("no binding", without_binding, identity, "service_account", "WORKLOAD_IDENTITY_BINDING_MISSING"),
            broken("no API", without_api("iamcredentials"), identity, "service_account", "GCP_SERVICE_DISABLED"),
            Break(
                what="no service account",
                act=without_account,
                asked="identity",
                step="service_account",
                code="SERVICE_ACCOUNT_NOT_FOUND",
                mend=with_the_account_again,
            ),
            broken("no bucket", self.account.buckets.clear, "bucket", "bucket", "GCP_BUCKET_NOT_FOUND"),
            broken(
                "no right to the bucket",
                without_right_to_the_bucket,
                "bucket",
                "bucket",
                "GCP_BUCKET_PERMISSION_DENIED",
            ),
            broken(
                "no right to run",
                lambda: project.remove("roles/run.admin", member),
                "diagnosis",
                "project_permissions",
                "GCP_PERMISSION_DENIED",
            ),
            broken(
                "no right to act as itself",
                lambda: sa[EMAIL].remove("roles/iam.serviceAccountUser", member),
                "diagnosis",
                "act_as",
                "GCP_ACT_AS_DENIED",
            ),
            broken("Cloud Run not enabled", without_api("run"), "diagnosis", "cloud_run", "GCP_SERVICE_DISABLED"),
            broken(
                "Cloud Build not enabled", without_api("cloudbuild"), "diagnosis", "cloud_build", "GCP_SERVICE_DISABLED"
            ),
        )

    @contextmanager
    def slowly(self) -> Iterator[bytes]:
        with self._workshop.held():
            yield (HELLO / "main.dart").read_bytes()

    def kubernetes_target(self, name: str) -> dict[str, Any]:
        """The same on GKE."""
        kept = {field: value for field, value in self.target(name).items() if field != "serviceName"}
        return {
            **kept,
            "runtimeTarget": "gke",
            "namespace": "default",
            "deploymentName": name,
            "containerName": "app",
        }

    def make_cluster(self, name: str, location: str = REGION) -> KubernetesApi:
        return self._background.run(self.google.make_cluster(name, location))

    def move_cluster(self, cluster: KubernetesApi) -> None:
        """Give it another address."""
        self._background.run(cluster.open())

    def tick(self, at: datetime) -> list[int]:
        self.google.scheduler.firings.clear()
        self._background.run(self.google.scheduler.tick(at))
        inside = [status for one in self.google.clusters.there for status in self._background.run(one.tick(at))]
        return [*(firing.http_status for firing in self.google.scheduler.firings), *inside]

    def builds_running(self) -> int:
        return sum(not made.is_over for made in self.google.builds.made.values())

    def remains(self) -> list[str]:
        return [
            *self._background.run(self.google.buckets.names()),
            *self.google.registry.images(),
            *self.google.run.names(),
            *(f"secret {name}" for name in self.google.vault.secrets),
            *(f"job {name}" for name in self.google.scheduler.jobs),
            *(name for cluster in self.google.clusters.there for name in cluster.names()),
        ]

    def close(self) -> None:
        self._background.run(self.google.close())
        self._background.close()
        self._workshop.close()

    def _set_issuer(self, issuer: str) -> None:
        self.account.pools[POOL][PROVIDER].issuer = issuer

    def _set_audience(self, audience: str) -> None:
        self.account.pools[POOL][PROVIDER].audiences = [audience]

    def _set_up(self) -> None:
        place = f"--project={PROJECT} --location=global"
        member = f"--member=serviceAccount:{EMAIL}"
        for line in (
            f"gcloud iam workload-identity-pools create {POOL} {place}",
            (
                f"gcloud iam workload-identity-pools providers create-oidc {PROVIDER} {place} --workload-identity-pool={POOL} "
                f"--issuer-uri={self._issuer} --attribute-mapping=google.subject=assertion.sub"
            ),
            f"gcloud iam service-accounts create dcf --project={PROJECT}",
            (
                f"gcloud iam service-accounts add-iam-policy-binding {EMAIL} --project={PROJECT} {member} "
                "--role=roles/iam.serviceAccountUser"
            ),
            *(f"gcloud projects add-iam-policy-binding {PROJECT} {member} --role={role}" for role in ROLES),
            (
                f"gcloud artifacts repositories create {REPOSITORY} --project={PROJECT} --location={REGION} "
                "--repository-format=docker"
            ),
            f"gcloud storage buckets create gs://{BUCKET} --project={PROJECT}",
            f"gcloud storage buckets add-iam-policy-binding gs://{BUCKET} {member} --role=roles/storage.admin",
        ):
            self.shell.obey(line)

    def _bind(self, member: str) -> None:
        self.shell.obey(
            f"gcloud iam service-accounts add-iam-policy-binding {EMAIL} --project={PROJECT} "
            f"--role=roles/iam.workloadIdentityUser --member={member}"
        )
