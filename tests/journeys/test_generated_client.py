"""A client that a program made of our description does a developer's whole day's work, on the first try."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.service import HELLO, Service, until

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)

ENDED = {"succeeded", "failed", "canceled", "undeployed", "undeploy_failed"}
NAMES = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}
CONFIG = {
    "project_name_override": "dcf-client",
    "package_name_override": "dcf_client",
    "post_hooks": [],
    # The one media type the generator does not know: the bytes of a piece of a file.
    "content_type_overrides": {"application/partial-upload": "application/octet-stream"},
}


class Generated:
    """The generated package: its operations by name, its models, and a client that is signed in."""

    def __init__(self, package: Path, service: Service) -> None:
        self._modules = {path.stem: path.parent.name for path in package.glob("api/*/*.py")}
        self.models: Any = importlib.import_module("dcf_client.models")
        self.types: Any = importlib.import_module("dcf_client.types")
        self.client: Any = importlib.import_module("dcf_client").AuthenticatedClient(
            base_url=f"http://127.0.0.1:{service.ports['api']}",
            token=(service.data_dir / "owner.key").read_text().strip(),
            timeout=httpx.Timeout(60),
            raise_on_unexpected_status=True,
        )

    def ask(self, operation: str, *place: Any, **arguments: Any) -> Any:
        """What the client's own function answers, parsed. Raises UnexpectedStatus where the description is wrong."""
        module = importlib.import_module(f"dcf_client.api.{self._modules[operation]}.{operation}")
        return module.sync(*place, client=self.client, **arguments)


@pytest.fixture(scope="module")
def generated(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    folder = tmp_path_factory.mktemp("generated")
    document = httpx.get(f"http://127.0.0.1:{service.ports['api']}/api/v1/openapi.json")
    (folder / "openapi.json").write_bytes(document.content)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    made = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"),
            *("--path", "openapi.json", "--config", "config.json", "--output-path", "dcf_client"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    try:
        made_of = Generated(folder / "dcf_client", service)
        yield made_of
        made_of.client.get_httpx_client().close()
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "dcf_client"]:
            del sys.modules[name]


class Day:
    """The steps of the day, each by the client's typed functions."""

    def __init__(self, generated: Generated) -> None:
        self.ask, self.models, self.types = generated.ask, generated.models, generated.types
        self.project_id = UUID(int=0)
        self.files: Any = None

    def prepare(self, name: str) -> None:
        self.project_id = self.ask("create_project", body=self.models.ProjectRequest(name=name)).project_id
        self.files = self.models.ArtifactFilesRequest(**{f"{kind}_file": self.upload(kind) for kind in NAMES})
        for step in ("connect_local", "verify_local", "check_local_bucket", "configure_local_bucket"):
            until(self._local(step), seconds=240, what=f"{step} done")

    def upload(self, kind: str) -> str:
        with (HELLO / NAMES[kind]).open("rb") as content:
            file = self.types.File(payload=content, file_name=NAMES[kind], mime_type="application/octet-stream")
            body = self.models.UploadForm(file=file, project_id=self.project_id)
            path: str = self.ask(f"upload_{kind}", body=body).path
        return path

    def draft(self, name: str) -> Any:
        body = self.models.FunctionRequest(
            project_id=self.project_id,
            name=name,
            runtime=self.ask("list_runtimes").default,
            access=self.models.Access.PUBLIC,
            trigger=self.models.HttpTriggerRequest(type_="http"),
            artifact_files=self.files,
        )
        return self.ask("create_function", body=body)

    def deploy(self, function_id: UUID, **more: Any) -> Any:
        body = self.models.LocalDeploymentRequest(
            provider="local",
            function_id=function_id,
            target=self.models.LocalTargetRequest(),
            **more,
        )
        return self.ask("create_deployment", self.project_id, body=body)

    def ended(self, deployment: Any) -> Any:
        def look() -> Any:
            found = self.ask("get_deployment", self.project_id, deployment.deployment_id)
            return found if found.status.value in ENDED else None

        return until(look, seconds=120, what="the deployment ended")

    def _local(self, step: str) -> Callable[[], bool]:
        def look() -> bool:
            status: str = self.ask(step, self.project_id, body=self.models.LocalRequest()).status.value
            return status == "verified" or step == "connect_local"

        return look


def test_a_generated_client_is_all_that_a_developer_needs(generated: Generated) -> None:
    """One test: making the client takes longer than using it, and tests of one module may run in several processes."""
    _runs_the_journey(generated)
    _reads_lists_page_by_page(generated)
    _is_told_of_problems_in_types(generated)


def _runs_the_journey(generated: Generated) -> None:
    day = Day(generated)
    models = day.models

    day.prepare("generated")
    function = day.draft("hello")
    checked = day.deploy(function.function_id, validate_only=True)
    none_yet = day.ask("list_deployments", day.project_id)
    first = day.ended(day.deploy(function.function_id, reason="first"))
    greeted = httpx.get(first.url)
    events = day.ask("list_deployment_events", day.project_id, first.deployment_id)
    changes = models.UpdateRequestEnvironment.from_dict({"GREETING": "Ahoy"})
    updated = day.ask(
        "update_function", body=models.UpdateRequest(function_id=function.function_id, environment=changes)
    )
    second = day.ended(day.deploy(function.function_id))
    greeted_anew = httpx.get(second.url)
    back = day.ended(day.ask("rollback_deployment", day.project_id, first.deployment_id))
    greeted_again = httpx.get(back.url)
    again = day.ended(day.ask("redeploy_deployment", day.project_id, second.deployment_id))
    stopped = day.ask("cancel_deployment", day.project_id, day.deploy(function.function_id).deployment_id)
    canceled = day.ended(stopped)
    withdrawn = day.ended(day.ask("undeploy_deployment", day.project_id, again.deployment_id))

    assert none_yet.items == []
    assert isinstance(checked, models.Deployment)
    assert (first.status, greeted.text) == (models.DeploymentStatus.SUCCEEDED, "Hello, world!\n")
    assert isinstance(first.target, models.LocalTarget)
    assert isinstance(first.release.trigger, models.HttpTrigger)
    assert [type(event.actor) for event in (events.items[0], events.items[-1])] == [models.KeyActor, models.RunnerActor]
    assert (events.items[0].type_, events.items[-1].type_) == ("deployment.queued", "deployment.succeeded")
    assert updated.changed_since_deploy is True
    assert greeted_anew.text == "Ahoy, world!\n"
    assert (back.origin, greeted_again.text) == (models.DeploymentOrigin.ROLLBACK, "Hello, world!\n")
    assert (again.status, again.source_deployment_id) == (models.DeploymentStatus.SUCCEEDED, second.deployment_id)
    assert canceled.status == models.DeploymentStatus.CANCELED
    assert withdrawn.status == models.DeploymentStatus.UNDEPLOYED


def _reads_lists_page_by_page(generated: Generated) -> None:
    day = Day(generated)
    made = [
        day.ask("create_project", body=day.models.ProjectRequest(name=f"page-{number}")).project_id
        for number in range(3)
    ]

    found: list[UUID] = []
    page = day.ask("list_projects", limit=1)
    while page.next_cursor is not None:
        found += [project.project_id for project in page.items]
        page = day.ask("list_projects", limit=1, cursor=page.next_cursor)
    found += [project.project_id for project in page.items]

    assert set(made) <= set(found)
    assert len(found) == len(set(found))


def _is_told_of_problems_in_types(generated: Generated) -> None:
    day, models = Day(generated), generated.models
    day.ask("create_project", body=models.ProjectRequest(name="once"))

    taken = day.ask("create_project", body=models.ProjectRequest(name="once"))
    malformed = day.ask("create_project", body=models.ProjectRequest(name="no/slash"))
    unknown = day.ask("get_project", UUID(int=1))

    assert all(isinstance(problem, models.Problem) for problem in (taken, malformed, unknown))
    assert (taken.status, taken.code) == (409, "project_name_taken")
    assert taken.remedy
    assert [error.field for error in malformed.errors] == ["name"]
    assert unknown.status == 404
    headers = {"dcf_tenant": str(day.ask("get_tenant").tenant_id), "idempotency_key": "once", "prefer": "respond-async"}
    assert isinstance(day.ask("create_project", body=models.ProjectRequest(name="twice"), **headers), models.Project)
