"""Google Cloud's routes: five fields and no sixth, looked at as they were connected, and what is wrong named with its command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.gcp.provider import GcpProvider
from providers.issuer import Issuer, Keyring
from tests.api.steps import a_project, ask, fields_of, is_problem
from tests.api.world import World
from tests.emulators.background import Background
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.names import EMAIL
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR, well_known

IDENTITY = dict(GcpCloud.identity)
BUCKET = dict(GcpCloud.storage)
STEPS = [
    "own_token",
    "token_exchange",
    "service_account",
    "bucket",
    "bucket_permissions",
    "project_permissions",
    "act_as",
    "cloud_build",
    "artifact_registry",
    "cloud_run",
    "secret_manager",
    "cloud_scheduler",
    "kubernetes",
]


class Google:
    """A customer's Google Cloud, in which nothing is yet, and whoever signs our tokens."""

    def __init__(self, folder: Path) -> None:
        self.background = Background()
        self.issuer = Issuer(Keyring(folder / "keys.json"), lambda: f"http://127.0.0.1:{port}")
        port = self.background.serve(well_known(self.issuer))
        self.cloud = GcpCloud(workshop(folder / "cloud", TOOLCHAIN_DIR, real=False))
        self.provider = GcpProvider(self.issuer, self.cloud.google.endpoints)


@pytest.fixture
async def google(world: World, tmp_path: Path) -> AsyncIterator[Google]:
    made = await asyncio.to_thread(Google, tmp_path)
    world.services.providers["gcp"] = made.provider  # type: ignore[index] # the world's own dictionary
    yield made
    await made.provider.close()
    made.cloud.close()
    made.background.close()


@pytest.fixture
async def path(client: httpx.AsyncClient, google: Google) -> str:
    """Of a project whose customer did what the service asks for."""
    project_id = await a_project(client)
    tenant_id = (await ask(client, "GET", "/tenant"))["tenantId"]
    await asyncio.to_thread(google.cloud.prepare, google.issuer.issuer, f"tenant:{tenant_id}:project:{project_id}")
    return f"/projects/{project_id}/integrations/gcp"


def _failed(seen: Any) -> tuple[str, str, str]:
    [step] = [step for step in seen["steps"] if step["status"] == "failed"]
    return step["name"], step["code"], step["remedy"]


class TestConnectGcp:
    async def test_takes_exactly_five_fields_and_derives_the_audience(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        made = await ask(client, "POST", f"{path}/wif/connect", IDENTITY, status=201)
        sixth = await client.post(f"/api/v1{path}/wif/connect", json={**IDENTITY, "workloadIdentityAudience": "//iam"})
        four = [
            await client.post(f"/api/v1{path}/wif/connect", json={k: v for k, v in IDENTITY.items() if k != left_out})
            for left_out in IDENTITY
        ]

        assert made["identity"] == {"provider": "gcp", **IDENTITY}
        assert (sixth.status_code, fields_of(sixth)) == (422, ["workloadIdentityAudience"])
        assert [(one.status_code, fields_of(one)) for one in four] == [(422, [name]) for name in IDENTITY]

    async def test_is_verified_looked_at_whole_given_a_bucket_and_gone_once_disconnected(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        await ask(client, "POST", f"{path}/wif/connect", IDENTITY, status=201)

        verified = await ask(client, "POST", f"{path}/wif/verify", {})
        refused = await client.post(f"/api/v1{path}/bucket/config", json=BUCKET)
        checked = await ask(client, "POST", f"{path}/bucket/check", BUCKET)
        saved = await ask(client, "POST", f"{path}/bucket/config", BUCKET)
        whole = await ask(client, "POST", f"{path}/wif/diagnostics", IDENTITY)
        gone = await ask(client, "POST", f"{path}/disconnect", {})

        assert [step["name"] for step in verified["steps"]] == STEPS[:3]
        assert is_problem(refused, 409, "storage_not_checked")
        assert [step["name"] for step in checked["steps"]] == STEPS[3:5]
        assert saved["storage"] == {"provider": "gcp", **BUCKET}
        assert [(step["name"], step["status"]) for step in whole["steps"]] == [(name, "passed") for name in STEPS]
        assert (gone["status"], gone["identity"], gone["storage"]) == ("disconnected", None, None)

    async def test_names_the_missing_binding_with_the_exact_command(
        self, client: httpx.AsyncClient, path: str, google: Google
    ) -> None:
        await ask(client, "POST", f"{path}/wif/connect", IDENTITY, status=201)
        google.cloud.account.service_accounts[EMAIL].bindings["roles/iam.workloadIdentityUser"].clear()

        seen = await ask(client, "POST", f"{path}/wif/verify", {})
        name, code, remedy = _failed(seen)
        await asyncio.to_thread(google.cloud.shell.obey, remedy)
        mended = await ask(client, "POST", f"{path}/wif/verify", {})

        assert (name, code) == ("service_account", "WORKLOAD_IDENTITY_BINDING_MISSING")
        assert f"add-iam-policy-binding {EMAIL}" in remedy
        assert mended["status"] == "verified"

    async def test_refuses_to_look_at_another_identity_than_was_connected(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        await ask(client, "POST", f"{path}/wif/connect", IDENTITY, status=201)

        for asked in ("verify", "diagnostics"):
            other = await client.post(f"/api/v1{path}/wif/{asked}", json={"workloadIdentityPool": "other-pool"})

            assert is_problem(other, 409, "identity_differs")
            assert fields_of(other) == ["workloadIdentityPool"]


class TestWhatTheCommandsGive:
    async def test_is_all_that_the_diagnosis_asks_for_and_nothing_is_given_for_nothing(
        self, client: httpx.AsyncClient, path: str, google: Google
    ) -> None:
        """
        Goal: the commands that a customer is shown and what is looked at are the same, role by role.
        Method: each role of the service account is taken away by itself; the diagnosis names it, and its remedy gives
        back the very role.
        """
        await ask(client, "POST", f"{path}/wif/connect", IDENTITY, status=201)
        await ask(client, "POST", f"{path}/bucket/check", BUCKET)
        member, policy = f"serviceAccount:{EMAIL}", google.cloud.account.policy
        held = [role for role, members in policy.bindings.items() if member in members]
        named = {}

        for role in held:
            policy.remove(role, member)
            seen = await ask(client, "POST", f"{path}/wif/diagnostics", {})
            [step] = [step for step in seen["steps"] if step["remedy"]] or [None]
            if step is None:
                policy.add(role, member)
                continue
            named[role] = step["name"]
            await asyncio.to_thread(google.cloud.shell.obey, step["remedy"])
            assert member in policy.bindings[role], step

        assert named == {
            "roles/run.admin": "project_permissions",
            "roles/cloudbuild.builds.editor": "project_permissions",
            "roles/artifactregistry.repoAdmin": "project_permissions",
            "roles/secretmanager.admin": "secret_manager",
            "roles/cloudscheduler.admin": "cloud_scheduler",
            "roles/container.developer": "kubernetes",
        }
        # Without it a function is deployed all the same, and only its last words are not seen.
        assert set(held) - set(named) == {"roles/logging.viewer"}
