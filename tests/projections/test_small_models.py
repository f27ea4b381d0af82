"""The read models with a row or two to tell: artifacts, runtimes, keys, tenants, members, persons, plans."""

from __future__ import annotations

import json

import msgspec
import pytest

from domain.artifact import Kept
from domain.clouds import AwsStorage, AzureStorage, GcpStorage, Storage
from projections.api_keys import API_KEYS, ApiKey
from projections.artifacts import ARTIFACTS, Artifact
from projections.members import MEMBERS
from projections.persons import PERSONS
from projections.plans import PLANS
from projections.runtimes import RUNTIMES
from projections.tenants import TENANTS
from projections.usage import USAGE
from tests.projections.history import rows_of
from tests.support import a


async def test_an_artifact_is_what_the_upload_answered() -> None:
    (row,) = await rows_of(ARTIFACTS, a.artifact_staged())

    assert json.loads(msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(row), type=Artifact))) == {
        "artifactId": str(a.staged_id()),
        "path": f"projects/{a.PROJECT_ID}/artifacts/{a.staged_id()}/main.dart",
        "fileName": "main.dart",
        "kind": "code",
        "digest": a.DIGEST,
        "sizeBytes": 120,
        "provider": None,
        "createdAt": "2026-03-01T12:00:01Z",
        "discardedAt": None,
        "location": None,
    }


async def test_an_artifact_says_where_in_a_cloud_it_is_kept() -> None:
    kept: dict[Storage, str] = {
        AwsStorage(bucket="acme", region="eu-west-1"): "s3://acme/dcf/files/0",
        GcpStorage(bucket="acme"): "gs://acme/dcf/files/0",
        AzureStorage(account="acme", container="files"): "https://acme.blob.core.windows.net/files/dcf/files/0",
    }

    for storage, location in kept.items():
        (row,) = await rows_of(ARTIFACTS, a.artifact_staged(kept=Kept(storage=storage, name="dcf/files/0")))
        assert row.location == location


async def test_the_same_bytes_staged_again_are_the_same_artifact() -> None:
    assert len(await rows_of(ARTIFACTS, a.artifact_staged(), a.artifact_staged())) == 1


async def test_runtimes_have_a_row_a_version_and_one_for_the_default() -> None:
    rows = await rows_of(
        RUNTIMES,
        a.runtime_added("3.10.0"),
        a.runtime_added("3.11.0"),
        a.runtime_dates_set("3.10.0", deprecation_announced_at=a.AT),
        a.runtime_default_set("3.10.0"),
        a.runtime_default_set("3.11.0"),
    )

    assert [(row.version, row.dates) for row in rows] == [
        ("3.10.0", a.dates(deprecation_announced_at=a.AT)),
        ("3.11.0", a.dates()),
        ("3.11.0", None),
    ]


async def test_a_revoked_key_stays_known_and_the_hash_is_not_in_what_is_shown() -> None:
    (row,) = await rows_of(API_KEYS, a.api_key_created(), a.api_key_revoked())
    shown = msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(row), type=ApiKey))

    assert row.revoked_at is not None
    assert row.secret_hash.encode() not in shown


async def test_a_tenant_has_the_plan_chosen_last() -> None:
    (row,) = await rows_of(TENANTS, a.tenant_created(), a.plan_chosen("enterprise"))

    assert (row.name, row.slug, row.plan) == ("Acme", "acme", "enterprise")


async def test_a_member_has_a_role() -> None:
    (row,) = await rows_of(MEMBERS, a.tenant_created(), a.member_added())

    assert (row.person_id, row.role) == (a.PERSON_ID, "developer")


async def test_an_erased_person_has_neither_name_nor_address() -> None:
    (before,) = await rows_of(PERSONS, a.person_registered())
    (after,) = await rows_of(PERSONS, a.person_registered(), a.person_erased())

    assert before.name == "c2VhbGVk"
    assert (after.name, after.email) == (None, None)
    assert after.erased_at is not None


@pytest.mark.parametrize("entitlements", [(), ("gke",)])
async def test_a_plan_is_as_it_was_last_defined(entitlements: tuple[str, ...]) -> None:
    (row,) = await rows_of(PLANS, a.plan_defined(), a.plan_defined(entitlements=entitlements, projects=9))

    assert (row.limits.projects, row.entitlements) == (9, entitlements)


async def test_usage_counts_what_is_there_and_what_ever_was() -> None:
    (row,) = await rows_of(
        USAGE,
        a.tenant_created(),
        a.member_added(),
        a.project_created(),
        a.artifact_staged(),
        a.function_created(),
        a.deployment_queued(),
        a.deployment_succeeded(),
        a.member_removed(),
        a.function_archived(),
        a.project_archived(),
    )

    assert (row.projects, row.functions, row.members) == (0, 0, 0)
    assert (row.artifacts, row.artifact_bytes, row.deployments, row.deployments_succeeded) == (1, 120, 1, 1)


async def test_usage_says_what_became_of_the_tenant() -> None:
    (row,) = await rows_of(USAGE, a.tenant_created(), a.tenant_suspended(), a.tenant_resumed(), a.tenant_suspended())
    assert (row.suspended, row.closed_at) == ("unpaid", None)

    (row,) = await rows_of(USAGE, a.tenant_created(), a.tenant_suspended(), a.tenant_resumed(), a.tenant_closed())
    assert row.suspended is None
    assert row.closed_at is not None


async def test_a_member_changes_role_and_goes() -> None:
    story = (a.tenant_created(), a.member_added(), a.member_role_changed("admin"))

    (row,) = await rows_of(MEMBERS, *story)

    assert row.role == "admin"
    assert await rows_of(MEMBERS, *story, a.member_removed()) == []
