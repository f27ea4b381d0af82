"""Every read model and every query there is. A new one is added here; nothing else looks for them."""

from __future__ import annotations

from projections.api_keys import API_KEY_GET, API_KEY_NAMED, API_KEYS, API_KEYS_LIST
from projections.artifacts import ARTIFACT, ARTIFACT_BY_DIGEST, ARTIFACTS, ARTIFACTS_KEPT, ARTIFACTS_LIST
from projections.as_of import AS_OF_QUERIES
from projections.audit_trail import (
    AUDIT_EVENTS,
    AUDIT_EVENTS_AT,
    AUDIT_EVENTS_NEWEST,
    AUDIT_EVENTS_OF_ALL,
    AUDIT_EVENTS_OF_ALL_NEWEST,
    AUDIT_TRAIL,
)
from projections.deployment_events import DEPLOYMENT_EVENTS, TIMELINE, TIMELINE_OF_PROJECT
from projections.deployment_lists import (
    DEPLOYMENT,
    DEPLOYMENT_AT_ADDRESS,
    DEPLOYMENT_FATES,
    DEPLOYMENTS_BY_STATUS,
    DEPLOYMENTS_OF_FUNCTION,
    DEPLOYMENTS_OF_PROJECT,
    DEPLOYMENTS_ON_RUNTIME,
    DEPLOYMENTS_WATCHED,
    RELEASES_KEPT,
    RELEASES_LEFTOVER,
)
from projections.deployments import DEPLOYMENTS
from projections.functions import (
    FUNCTION_BY_NAME,
    FUNCTION_BY_SLUG,
    FUNCTION_GET,
    FUNCTIONS,
    FUNCTIONS_LIST,
    FUNCTIONS_ON_RUNTIME,
)
from projections.integrations import INTEGRATION_GET, INTEGRATIONS, INTEGRATIONS_LIST
from projections.invitations import INVITATION, INVITATIONS, INVITATIONS_LIST
from projections.members import MEMBER, MEMBERS, MEMBERS_LIST, MEMBERSHIPS
from projections.persons import PERSON, PERSON_IDENTIFIED, PERSONS, PERSONS_AMONG
from projections.plans import PLAN, PLANS, PLANS_LIST
from projections.projects import PROJECT, PROJECT_BY_NAME, PROJECT_BY_SLUG, PROJECTS, PROJECTS_LIST
from projections.query import AnyQuery
from projections.read_model import AnyModel
from projections.runtimes import RUNTIMES, RUNTIMES_LIST
from projections.schedules import SCHEDULES, SCHEDULES_KEPT
from projections.tenants import TENANT, TENANT_BY_SLUG, TENANTS, TENANTS_LIST
from projections.usage import USAGE, USAGE_LIST
from projections.versions import VERSION_QUERIES
from projections.work import WORK, WORK_READY, WORK_UNDER_WAY, WORK_WAITING

READ_MODELS: tuple[AnyModel, ...] = (
    TENANTS,
    PLANS,
    PERSONS,
    MEMBERS,
    INVITATIONS,
    API_KEYS,
    PROJECTS,
    RUNTIMES,
    ARTIFACTS,
    INTEGRATIONS,
    FUNCTIONS,
    DEPLOYMENTS,
    DEPLOYMENT_EVENTS,
    USAGE,
    WORK,
    SCHEDULES,
    AUDIT_TRAIL,
)

QUERIES: tuple[AnyQuery, ...] = (
    TENANT,
    TENANT_BY_SLUG,
    TENANTS_LIST,
    PLAN,
    PLANS_LIST,
    PERSON,
    PERSON_IDENTIFIED,
    PERSONS_AMONG,
    MEMBER,
    MEMBERS_LIST,
    MEMBERSHIPS,
    INVITATION,
    INVITATIONS_LIST,
    API_KEY_NAMED,
    API_KEY_GET,
    API_KEYS_LIST,
    PROJECT,
    PROJECT_BY_SLUG,
    PROJECT_BY_NAME,
    PROJECTS_LIST,
    RUNTIMES_LIST,
    ARTIFACT,
    ARTIFACT_BY_DIGEST,
    ARTIFACTS_LIST,
    ARTIFACTS_KEPT,
    INTEGRATION_GET,
    INTEGRATIONS_LIST,
    FUNCTION_GET,
    FUNCTION_BY_NAME,
    FUNCTION_BY_SLUG,
    FUNCTIONS_LIST,
    FUNCTIONS_ON_RUNTIME,
    DEPLOYMENT,
    DEPLOYMENT_AT_ADDRESS,
    DEPLOYMENTS_ON_RUNTIME,
    DEPLOYMENTS_OF_PROJECT,
    DEPLOYMENTS_BY_STATUS,
    DEPLOYMENTS_OF_FUNCTION,
    DEPLOYMENTS_WATCHED,
    DEPLOYMENT_FATES,
    RELEASES_KEPT,
    RELEASES_LEFTOVER,
    TIMELINE,
    TIMELINE_OF_PROJECT,
    USAGE_LIST,
    WORK_READY,
    WORK_UNDER_WAY,
    WORK_WAITING,
    SCHEDULES_KEPT,
    AUDIT_EVENTS,
    AUDIT_EVENTS_NEWEST,
    AUDIT_EVENTS_OF_ALL,
    AUDIT_EVENTS_OF_ALL_NEWEST,
    AUDIT_EVENTS_AT,
    *VERSION_QUERIES,
    *AS_OF_QUERIES,
)
