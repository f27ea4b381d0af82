"""What can be asked about the things of a story: each by itself, and the lists they are in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.event import SYSTEM_TENANT
from projections.artifacts import ARTIFACTS_LIST
from projections.deployment_lists import DEPLOYMENT, DeploymentFilter, deployments_list
from projections.functions import FUNCTION_GET, FUNCTIONS_LIST
from projections.integrations import INTEGRATION_GET, INTEGRATIONS_LIST
from projections.projects import PROJECT, PROJECTS_LIST
from projections.query import AnyQuery
from projections.runtimes import RUNTIMES_LIST
from tests.projections.stories import Story

Question = tuple[AnyQuery, UUID | None, tuple[Any, ...]]
_FILTERS = (
    DeploymentFilter(),
    DeploymentFilter(status="succeeded"),
    DeploymentFilter(status="queued", provider="local"),
)
_LIMIT = 10


def questions_about(story: Story) -> list[Question]:
    """Every query about projects, functions, integrations, deployments and artifacts there is, and the runtimes."""
    asked: list[Question] = [(RUNTIMES_LIST, SYSTEM_TENANT, ())]
    for tenant_id in dict.fromkeys(fact.stream.tenant_id for fact in story if fact.stream.tenant_id != SYSTEM_TENANT):
        asked.append((PROJECTS_LIST, tenant_id, (PROJECTS_LIST.beginning, _LIMIT)))
        for project_id in _projects(story, tenant_id):
            asked += _about_project(tenant_id, project_id)
            for category, id in dict.fromkeys((fact.stream.category, fact.stream.id) for fact in story):
                if category == "function":
                    asked.append((FUNCTION_GET, tenant_id, (id,)))
                    listed, values = deployments_list(project_id, DeploymentFilter(function_id=id, status="failed"))
                    asked.append((listed, tenant_id, (*values, listed.beginning, _LIMIT)))
                elif category == "deployment":
                    asked.append((DEPLOYMENT, tenant_id, (project_id, id)))
    return asked


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
