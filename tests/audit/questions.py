"""What can be asked about the things of a story: each by itself, and the lists they are in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.event import SYSTEM_TENANT, StreamRef
from domain.plan import plan_stream
from projections.api_keys import API_KEY_GET, API_KEYS_LIST
from projections.artifacts import ARTIFACT, ARTIFACT_BY_DIGEST, ARTIFACTS_LIST
from projections.deployment_lists import DEPLOYMENT, DeploymentFilter, deployments_list
from projections.functions import FUNCTION_GET, FUNCTIONS_LIST
from projections.integrations import INTEGRATION_GET, INTEGRATIONS_LIST
from projections.members import MEMBER, MEMBERS_LIST
from projections.plans import PLAN, PLANS_LIST
from projections.projects import PROJECT, PROJECTS_LIST
from projections.query import AnyQuery
from projections.runtimes import RUNTIMES_LIST
from projections.tenants import TENANT
from tests.projections.stories import Story

Question = tuple[AnyQuery, UUID | None, tuple[Any, ...]]
_FILTERS = (
    DeploymentFilter(),
    DeploymentFilter(status="succeeded"),
    DeploymentFilter(status="queued", provider="local"),
)
_LIMIT = 10


def questions_about(story: Story) -> list[Question]:
    """Every query about the things of tenants there is, and about what belongs to the service itself."""
    asked: list[Question] = [
        (RUNTIMES_LIST, SYSTEM_TENANT, ()),
        (PLAN, SYSTEM_TENANT, (plan_stream("sandbox").id,)),
        (PLANS_LIST, SYSTEM_TENANT, ()),
    ]
    streams = list(dict.fromkeys(fact.stream for fact in story))
    for tenant_id in dict.fromkeys(fact.stream.tenant_id for fact in story if fact.stream.tenant_id != SYSTEM_TENANT):
        asked += [
            (query, tenant_id, (query.beginning, _LIMIT)) for query in (PROJECTS_LIST, MEMBERS_LIST, API_KEYS_LIST)
        ]
        asked.append((TENANT, tenant_id, ()))
        asked += [(MEMBER, tenant_id, (person_id,)) for person_id in _members(story)]
        asked += [(API_KEY_GET, tenant_id, (stream.id,)) for stream in streams if stream.category == "api_key"]
        for project_id in _projects(story, tenant_id):
            asked += _about_project(tenant_id, project_id)
            asked += [question for stream in streams for question in _about_stream(tenant_id, project_id, stream)]
            digests = {getattr(fact.event, "digest", None) for fact in story if fact.stream.category == "artifact"}
            asked += [(ARTIFACT_BY_DIGEST, tenant_id, (project_id, digest)) for digest in digests if digest]
    return asked


def _about_stream(tenant_id: UUID, project_id: UUID, stream: StreamRef) -> list[Question]:
    match stream.category:
        case "function":
            listed, values = deployments_list(project_id, DeploymentFilter(function_id=stream.id, status="failed"))
            return [
                (FUNCTION_GET, tenant_id, (stream.id,)),
                (listed, tenant_id, (*values, listed.beginning, _LIMIT)),
            ]
        case "deployment":
            return [(DEPLOYMENT, tenant_id, (project_id, stream.id))]
        case "artifact":
            return [(ARTIFACT, tenant_id, (project_id, stream.id))]
        case _:
            return []


def _members(story: Story) -> list[UUID]:
    return list(dict.fromkeys(id for fact in story if (id := getattr(fact.event, "person_id", None)) is not None))


def _projects(story: Story, tenant_id: UUID) -> list[UUID]:
    of_events = [getattr(fact.event, "project_id", None) for fact in story if fact.stream.tenant_id == tenant_id]
    of_streams = [fact.stream.id for fact in story if fact.stream.category == "project"]
    return list(dict.fromkeys([*of_streams, *(id for id in of_events if id is not None)]))


def _about_project(tenant_id: UUID, project_id: UUID) -> list[Question]:
    lists: list[Question] = [
        (query, tenant_id, (project_id, query.beginning, _LIMIT))
        for query in (ARTIFACTS_LIST, FUNCTIONS_LIST, INTEGRATIONS_LIST)
    ]
    for wanted in _FILTERS:
        listed, values = deployments_list(project_id, wanted)
        lists.append((listed, tenant_id, (*values, listed.beginning, _LIMIT)))
    return [
        (PROJECT, tenant_id, (project_id,)),
        (INTEGRATION_GET, tenant_id, (project_id, "local")),
        *lists,
    ]
