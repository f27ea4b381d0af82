"""Thousands of requests that nobody thought of: what the description allows, what it forbids, and what leads to what."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any
from uuid import UUID

import httpx
import pytest

from api import example_ids
from api.access_log import Note, RequestAnswered
from api.id_tokens import IdTokens
from api.sign_in import Newcomers
from api.trusted_issuers import trusted_issuers
from tests.api.contract import operations, the_document
from tests.api.seeded import Seeded, roomy_world, seeded
from tests.api.served import served_at
from tests.api.steps import a_project, connected
from tests.emulators.oidc_issuer import CLIENT_ID, oidc_issuer
from tests.support.service import ROOT

SETTINGS = Path(__file__).with_name("schemathesis.toml")
SECONDS_MAX = 480
# The rest need a cloud that is not offered, or somebody who was invited.
DONE_MIN = 0.8
# Headers mean the same wherever they are taken: they are tried on these, and left out of what else is tried, where a key
# that was used before would hide all that comes after it.
_WITH_HEADERS = ("/api/v1/keys/{keyId}", "/api/v1/me", "/api/v1/projects")
_NEEDED = ("#/components/parameters/UploadOffset", "#/components/parameters/PieceComplete")


@asynccontextmanager
async def _tried(data_dir: Path, note: Note) -> AsyncIterator[Seeded]:
    """A tenant whose owner is a person: keys can be revoked on the way, and the last owner cannot be lost."""
    async with oidc_issuer() as issuer, httpx.AsyncClient(trust_env=False) as http:
        tokens = IdTokens(trusted_issuers(f"{issuer.url}={CLIENT_ID}"), http, clock=lambda: datetime.now(UTC))
        async with roomy_world(data_dir, tokens=tokens, newcomers=Newcomers(), note=note) as world:
            token = issuer.token("ada", exp=2**31)
            yield await seeded(world, token=token)


def _settings(one: Seeded, other: Seeded) -> str:
    """The settings with what there is in this world."""
    named = {
        "tenant": example_ids.TENANT_ID,
        "project": example_ids.PROJECT_ID,
        "function": example_ids.FUNCTION_ID,
        "deployment": example_ids.DEPLOYMENT_ID,
        "artifact": example_ids.ARTIFACT_ID,
        "key": example_ids.KEY_ID,
        "person": example_ids.PERSON_ID,
        "request": example_ids.CORRELATION_ID,
        "invitation": example_ids.INVITATION_ID,
        "upload": example_ids.UPLOAD_ID,
    }
    return Template(SETTINGS.read_text()).substitute(
        token=one.key,
        operator=one.world.operator_key,
        runtime=one.real("3.12.0"),
        **{name: one.real(str(id)) for name, id in named.items()},
    )


def _description(one: Seeded, other: Seeded) -> dict[str, Any]:
    """As it is served, with real ids in its examples, less the headers of most operations."""
    document = copy.deepcopy(the_document())
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path not in _WITH_HEADERS:
                operation["parameters"] = [
                    parameter for parameter in operation["parameters"] if parameter.get("$ref", _NEEDED[0]) in _NEEDED
                ]
            # What operators do to a tenant they do to another one.
            seen = other if "Operations" in operation["tags"] else one
            methods[method] = seen.real(operation)
    return document


async def _spare_project(one: Seeded) -> str:
    """A project that is connected, and may be disconnected."""
    key = await one.world.key(UUID(one.real(str(example_ids.TENANT_ID))), "owner")
    async with one.world.client(key) as client:
        project_id = await a_project(client, "spare")
        await connected(client, project_id)
    return project_id


async def _run(address: str, one: Seeded, other: Seeded, folder: Path, *more: str) -> tuple[int, str]:
    """The exit status, and what was printed."""
    settings, description = folder / "schemathesis.toml", folder / "openapi.json"
    settings.write_text(_settings(one, other))
    description.write_text(json.dumps(_description(one, other)))
    tenant_id = str(example_ids.TENANT_ID)
    known = {
        "DCF_TRIED_TENANT": one.real(tenant_id),
        "DCF_OTHER_TENANT": other.real(tenant_id),
        "DCF_TRIED_PROJECT": one.real(str(example_ids.PROJECT_ID)),
        "DCF_SPARE_PROJECT": await _spare_project(one),
        "DCF_OTHER_RUNTIME": other.real("3.12.0"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "schemathesis.cli", "--config-file", str(settings)),
        *("run", str(description), "--url", address, *more),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **known},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS_MAX):
            printed, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, printed.decode()


@pytest.mark.timeout(SECONDS_MAX + 60)
async def test_finds_nothing(tmp_path: Path) -> None:
    """Goal: whatever is asked is answered as described, and nearly all there is to be done is done on the way.

    Method: schemathesis with all its checks and phases, stateful links included, against a tenant that has one of
    everything, over real HTTP.
    """
    asked: list[RequestAnswered] = []
    async with _tried(tmp_path, asked.append) as one:
        other = await seeded(one.world)
        async with served_at(one.world) as address:
            code, printed = await _run(address, one, other, tmp_path)

    assert code == 0, printed[-20_000:]
    there = {said["operationId"] for _, _, said in operations()}
    assert there <= {answered.operation for answered in asked}
    done = there & {answered.operation for answered in asked if answered.status < 300}
    assert len(done) >= DONE_MIN * len(there), f"never done: {', '.join(sorted(there - done))}"
