"""Google Cloud and its customer, for the journey: a project set up as the service says, broken and mended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from domain.clouds import ProviderName
from tests.emulators.background import Background
from tests.emulators.cloud import Break
from tests.emulators.gcp.account import Account
from tests.emulators.gcp.breaks import Breaks
from tests.emulators.gcp.cluster_commands import ClusterCommands
from tests.emulators.gcp.kubernetes import KubernetesApi
from tests.emulators.gcp.names import BUCKET, EMAIL, NUMBER, POOL, POOL_NAME, PROJECT, PROVIDER, REGION, REPOSITORY
from tests.emulators.gcp.server import Google
from tests.emulators.gcp.shell import Shell
from tests.emulators.images import Workshop
from tests.support.service import HELLO

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
            ClusterCommands(self.google.clusters, self.make_cluster),
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
        self._bind(f"principal://iam.googleapis.com/{POOL_NAME}/subject/{subject}")

    def prepare_for_all(self, issuer: str) -> None:
        """The same for the tokens of any project."""
        self._issuer = issuer
        self._set_up()
        self._bind(f"principalSet://iam.googleapis.com/{POOL_NAME}/*")

    def breaks(self) -> tuple[Break, ...]:
        return Breaks(self.account, self.shell).all()

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
            f"gcloud storage buckets create gs://{BUCKET} --project={PROJECT} --location={REGION}",
            f"gcloud storage buckets add-iam-policy-binding gs://{BUCKET} {member} --role=roles/storage.admin",
        ):
            self.shell.obey(line)

    def _bind(self, member: str) -> None:
        self.shell.obey(
            f"gcloud iam service-accounts add-iam-policy-binding {EMAIL} --project={PROJECT} "
            f"--role=roles/iam.workloadIdentityUser --member={member}"
        )
