"""What Google's predefined roles allow, as far as deployments ask: written from Google's pages, not generated."""

from __future__ import annotations

ROLES: dict[str, tuple[str, ...]] = {
    "roles/run.admin": (
        *(
            f"run.services.{verb}"
            for verb in ("create", "delete", "get", "list", "update", "getIamPolicy", "setIamPolicy")
        ),
        *(f"run.revisions.{verb}" for verb in ("delete", "get", "list")),
        "run.operations.get",
        "run.operations.list",
        "run.routes.invoke",
    ),
    "roles/run.serviceAgent": ("artifactregistry.repositories.downloadArtifacts", "iam.serviceAccounts.getAccessToken"),
    "roles/artifactregistry.reader": (
        *(f"artifactregistry.repositories.{verb}" for verb in ("get", "list", "downloadArtifacts")),
        *(f"artifactregistry.{kind}.{verb}" for kind in ("tags", "versions", "packages") for verb in ("get", "list")),
        "artifactregistry.locations.list",
    ),
    "roles/run.invoker": ("run.routes.invoke",),
    "roles/cloudbuild.builds.editor": tuple(
        f"cloudbuild.builds.{verb}" for verb in ("create", "get", "list", "update")
    ),
    "roles/artifactregistry.repoAdmin": (
        *(
            f"artifactregistry.repositories.{verb}"
            for verb in ("get", "list", "downloadArtifacts", "uploadArtifacts", "deleteArtifacts")
        ),
        *(f"artifactregistry.tags.{verb}" for verb in ("create", "delete", "get", "list", "update")),
        *(f"artifactregistry.versions.{verb}" for verb in ("delete", "get", "list")),
        *(f"artifactregistry.packages.{verb}" for verb in ("get", "list")),
        "artifactregistry.locations.list",
    ),
    "roles/storage.admin": (
        *(f"storage.buckets.{verb}" for verb in ("get", "list", "create", "delete", "update", "getIamPolicy")),
        *(f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list", "update")),
    ),
    "roles/logging.viewer": ("logging.logEntries.list",),
    "roles/logging.logWriter": ("logging.logEntries.create",),
    "roles/iam.serviceAccountUser": ("iam.serviceAccounts.actAs", "iam.serviceAccounts.get"),
    "roles/iam.workloadIdentityUser": (
        "iam.serviceAccounts.getAccessToken",
        "iam.serviceAccounts.getOpenIdToken",
        "iam.serviceAccounts.get",
    ),
    "roles/cloudscheduler.admin": tuple(
        f"cloudscheduler.jobs.{verb}"
        for verb in ("create", "delete", "enable", "get", "list", "pause", "run", "update")
    ),
    "roles/container.developer": (
        "container.clusters.get",
        "container.clusters.list",
        *(
            f"container.{kind}.{verb}"
            for kind in ("cronJobs", "deployments", "services", "secrets")
            for verb in ("create", "delete", "get", "list", "update")
        ),
        *(f"container.pods.{verb}" for verb in ("get", "getLogs", "list", "proxy")),
    ),
    "roles/secretmanager.admin": (
        *(f"secretmanager.secrets.{verb}" for verb in ("create", "delete", "get", "list", "update")),
        *(f"secretmanager.versions.{verb}" for verb in ("add", "access", "destroy", "get", "list")),
    ),
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": tuple(
        f"cloudkms.cryptoKeyVersions.{verb}" for verb in ("useToEncrypt", "useToDecrypt")
    ),
    "roles/secretmanager.secretAccessor": ("secretmanager.versions.access",),
}
