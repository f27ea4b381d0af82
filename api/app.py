"""The API put together from what it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from litestar import Litestar, Router
from litestar.datastructures import State

from api.access_log import Note, note_in_log
from api.admission import admit
from api.artifacts import ARTIFACT_ROUTES
from api.audit import AUDIT_ROUTES
from api.audit_causes import CAUSES_ROUTES
from api.audit_export import EXPORT_ROUTES
from api.audit_history import HISTORY_ROUTES
from api.audit_tree import TREE_ROUTES
from api.build_log import BUILD_LOG_ROUTES
from api.catalogues import CATALOGUE_ROUTES
from api.cross_origin import CrossOrigin
from api.deploy_lock import DEPLOY_LOCK_ROUTES
from api.deployment_events import DEPLOYMENT_EVENT_ROUTES
from api.deployments import DEPLOYMENT_ROUTES
from api.differences import DIFFERENCE_ROUTES
from api.direct import Direct
from api.earlier_deployments import EARLIER_DEPLOYMENT_ROUTES
from api.errors import handle
from api.event_stream import Streams
from api.front import Front
from api.functions import FUNCTION_ROUTES
from api.integrations import INTEGRATION_ROUTES
from api.integrations_aws import AWS_ROUTES
from api.integrations_azure import AZURE_ROUTES
from api.integrations_gcp import GCP_ROUTES
from api.invitations import INVITATION_ROUTES
from api.keys import KEY_ROUTES
from api.me import ME_ROUTES
from api.methods import Methods
from api.openapi.answers import HEADERS as SHOWN
from api.openapi.description import Description
from api.openapi.parameters import HEADERS as TAKEN
from api.openapi.routes import OPENAPI_ROUTES
from api.operations import OPERATION_ROUTES
from api.operator_master_key import OPERATOR_MASTER_KEY_ROUTES
from api.operator_queue import OPERATOR_QUEUE_ROUTES
from api.operator_tenants import OPERATOR_TENANT_ROUTES
from api.persons import PERSON_ROUTES
from api.projects import PROJECT_ROUTES
from api.read_models import READ_MODEL_ROUTES
from api.resumable_uploads import PATH as UPLOADS_PATH
from api.resumable_uploads import RESUMABLE_UPLOAD_ROUTES, upload_limit
from api.runtime_impact import RUNTIME_IMPACT_ROUTES
from api.secrets import SECRET_ROUTES
from api.services import Services
from api.sign_in_issuers import SIGN_IN_ROUTES
from api.tenant import TENANT_ROUTES
from api.tenant_closing import TENANT_CLOSING_ROUTES
from api.ticks import TICK_ROUTES
from api.uploads import UPLOAD_ROUTES
from api.webhooks import WEBHOOK_ROUTES
from api.well_known import WELL_KNOWN_ROUTES
from process.health import Check, Health

_ROOT = "/api/v1"

ROUTES = (
    *SIGN_IN_ROUTES,
    *ME_ROUTES,
    *PERSON_ROUTES,
    *TENANT_ROUTES,
    *INVITATION_ROUTES,
    *KEY_ROUTES,
    *CATALOGUE_ROUTES,
    *PROJECT_ROUTES,
    *DEPLOY_LOCK_ROUTES,
    *UPLOAD_ROUTES,
    *RESUMABLE_UPLOAD_ROUTES,
    *ARTIFACT_ROUTES,
    *FUNCTION_ROUTES,
    *SECRET_ROUTES,
    *TICK_ROUTES,
    *INTEGRATION_ROUTES,
    *GCP_ROUTES,
    *AWS_ROUTES,
    *AZURE_ROUTES,
    *DEPLOYMENT_ROUTES,
    *EARLIER_DEPLOYMENT_ROUTES,
    *DIFFERENCE_ROUTES,
    *DEPLOYMENT_EVENT_ROUTES,
    *BUILD_LOG_ROUTES,
    *WEBHOOK_ROUTES,
    *AUDIT_ROUTES,
    *HISTORY_ROUTES,
    *CAUSES_ROUTES,
    *EXPORT_ROUTES,
    *TREE_ROUTES,
    *OPERATION_ROUTES,
    *OPERATOR_QUEUE_ROUTES,
    *OPERATOR_MASTER_KEY_ROUTES,
    *OPERATOR_TENANT_ROUTES,
    *TENANT_CLOSING_ROUTES,
    *READ_MODEL_ROUTES,
    *RUNTIME_IMPACT_ROUTES,
    *OPENAPI_ROUTES,
)


def routed() -> Litestar:
    """The routes put together, with nothing behind them yet. Raises UndeclaredRoute when one does not say who may use it."""
    return Litestar(
        route_handlers=[Router(path=_ROOT, route_handlers=list(ROUTES)), *WELL_KNOWN_ROUTES],
        before_request=admit,
        exception_handlers={Exception: cast("Any", handle)},  # It answers with an ASGI application of our own.
        openapi_config=None,
        logging_config=None,
        # Bodies are read within limits of their own (api/body.py).
        request_max_body_size=None,
    )


def create_app(
    services: Services,
    checks: Mapping[str, Check],
    note: Note = note_in_log,
    *,
    origins: tuple[str, ...] = (),
    app: Litestar | None = None,
) -> Front:
    """The ASGI application of the API's port; pages of `origins` may use it. Raises UndeclaredRoute.

    `app` is `routed`, made before; whatever stood behind it stands there no more.
    """
    app = app or routed()
    app.state = State()
    app.state.update(services.as_state())
    streams = Streams()
    app.state.update(streams.as_state())
    app.state.update(Description(app).as_state())
    app.state["methods"] = methods = Methods(app, {f"{_ROOT}{UPLOADS_PATH}": upload_limit(services.upload_bytes_max)})
    cross_origin = CrossOrigin(origins, taken=(header["name"] for header in TAKEN.values()), shown=SHOWN)
    return Front(Direct(app), Health(checks), methods, streams, note, cross_origin)
