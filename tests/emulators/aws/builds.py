"""CodeBuild and the logs it writes: the sources of a build in S3 really become an image, in the workshop."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.emulators.aws.account import Account, Session
from tests.emulators.aws.answers import Refused
from tests.emulators.aws.images import Images
from tests.emulators.images import Build, Workshop

# What finding a machine takes; the build begins when it is looked at after that.
PROVISION_SECONDS = 0.2
# So many lines are a page of a log.
PAGE_LINES = 5
LISTED_MAX = 100
Given = dict[str, Any]
# What pushing an image takes, by Amazon's pages.
_PUSHING = tuple(
    f"ecr:{name}"
    for name in (
        "BatchCheckLayerAvailability",
        "BatchGetImage",
        "CompleteLayerUpload",
        "InitiateLayerUpload",
        "PutImage",
        "UploadLayerPart",
    )
)
_OPENER = re.compile(r"echo (\S+) \| base64 -d > /tmp/dcf/open\.dart")


@dataclass
class Running:
    """One build. `failure` is why it ended before or after the workshop had it."""

    id: str
    number: int
    given: Given
    project: Given
    content: bytes = b""
    work: Build | None = None
    failure: str = ""
    pushed: bool = False
    stopped: bool = False
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def variables(self) -> dict[str, str]:
        return {one["name"]: one["value"] for one in self.given.get("environmentVariablesOverride", [])}

    @property
    def is_over(self) -> bool:
        return self.stopped or bool(self.failure) or (self.work is not None and self.work.is_over)

    @property
    def status(self) -> str:
        if not self.is_over:
            return "IN_PROGRESS"
        if self.stopped:
            return "STOPPED"
        return (
            "SUCCEEDED" if self.work is not None and self.work.status == "succeeded" and not self.failure else "FAILED"
        )

    @property
    def log(self) -> str:
        return (self.work.log if self.work is not None else "") + self.failure


class Builds:
    """Of one account. `read` gives an object of S3, or None."""

    def __init__(
        self, account: Account, workshop: Workshop, images: Images, read: Callable[[str, str], bytes | None]
    ) -> None:
        self._account, self._workshop, self._images, self._read = account, workshop, images, read
        self.projects: dict[str, Given] = {}
        self.made: dict[str, Running] = {}
        self._by_token: dict[str, str] = {}
        # So many pages of a log come empty, though more follows.
        self.empty_pages = 0
        self.methods = {
            "BatchGetBuilds": self._get,
            "BatchGetProjects": self._get_projects,
            "CreateProject": self._create,
            "DeleteProject": self._delete,
            "ListBuildsForProject": self._list,
            "StartBuild": self._start,
            "StopBuild": self._stop,
            "UpdateProject": self._update,
        }
        self.log_methods = {"GetLogEvents": self._log}

    def _create(self, given: Given, session: Session | None) -> Given:
        if given["name"] in self.projects:
            raise Refused("ResourceAlreadyExistsException", "Project already exists")
        if not self._account.trusts_service(given["serviceRole"], "codebuild.amazonaws.com"):
            raise Refused(
                "InvalidInputException", "CodeBuild is not authorized to perform: sts:AssumeRole on service role"
            )
        self.projects[given["name"]] = given
        return {"project": self._shown_project(given)}

    def _delete(self, given: Given, session: Session | None) -> Given:
        self.projects.pop(given["name"], None)
        return {}

    def _update(self, given: Given, session: Session | None) -> Given:
        if given["name"] not in self.projects:
            raise Refused("ResourceNotFoundException", "Project cannot be found")
        self.projects[given["name"]] |= given
        return {"project": self._shown_project(self.projects[given["name"]])}

    def _get_projects(self, given: Given, session: Session | None) -> Given:
        there = [self._shown_project(self.projects[name]) for name in given["names"] if name in self.projects]
        return {"projects": there, "projectsNotFound": [name for name in given["names"] if name not in self.projects]}

    def _start(self, given: Given, session: Session | None) -> Given:
        project = self.projects.get(given["projectName"])
        if project is None:
            raise Refused("ResourceNotFoundException", f"Project cannot be found for name: {given['projectName']}")
        token = given.get("idempotencyToken", uuid4().hex)
        with self._account.lock:
            if token not in self._by_token:
                build_id = f"{given['projectName']}:{uuid4()}"
                running = Running(build_id, len(self.made) + 1, given, project)
                self._begin(running)
                self.made[build_id], self._by_token[token] = running, build_id
        return {"build": self._shown(self.made[self._by_token[token]])}

    def forget_tokens(self) -> None:
        """As CodeBuild does after five minutes."""
        self._by_token.clear()

    def _begin(self, running: Running) -> None:
        role, variables = running.project["serviceRole"], running.variables
        bucket, _, key = running.given["sourceLocationOverride"].partition("/")
        if running.given["sourceTypeOverride"] != "S3" or not key.endswith(".zip"):
            raise Refused("InvalidInputException", "Source location must be a .zip in S3")
        if problem := _spec_problem(running.given["buildspecOverride"], variables):
            running.failure = f"YAML_FILE_ERROR: {problem}\n"
            return
        log = self._account.arn(
            "logs", f"log-group:/aws/codebuild/{running.project['name']}:log-stream:{running.number}"
        )
        if not self._may(role, log, "logs:CreateLogStream", "logs:PutLogEvents"):
            running.failure = f"ACCESS_DENIED: Service role {role} does not allow AWS CodeBuild to create log streams\n"
            return
        content = (
            self._read(bucket, key)
            if self._account.allows(role, "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}")
            else None
        )
        if content is None:
            running.failure = f"CLIENT_ERROR: Access denied or no such object: {bucket}/{key}\n"
            return
        if not running.project["environment"].get("privilegedMode"):
            running.failure = "Cannot connect to the Docker daemon at unix:/var/run/docker.sock.\n"
            return
        running.content = content

    def _may(self, role: str, resource: str, *actions: str) -> bool:
        return all(self._account.allows(role, action, resource) for action in actions)

    def _settle(self, running: Running) -> None:
        """The build, once there is a machine for it; and the push, once the image is made."""
        with self._account.lock:
            waited = (datetime.now(UTC) - running.at).total_seconds()
            if running.work is None and not running.is_over and waited >= PROVISION_SECONDS:
                arguments = {"DART_VERSION": running.variables["DART_VERSION"]}
                before = _before(running.given["buildspecOverride"])
                running.work = self._workshop.build(running.content, arguments=arguments, before=before)
            self._push(running)

    def _push(self, running: Running) -> None:
        work = running.work
        if work is None or work.status != "succeeded" or running.pushed or running.failure:
            return
        running.pushed = True
        path, _, tag = running.variables["DCF_IMAGE"].removeprefix(f"{self._images.host}/").rpartition(":")
        repository = self._images.repositories.get(path)
        arn = self._account.arn("ecr", f"repository/{path}")
        role = running.project["serviceRole"]
        if (
            repository is None
            or not self._may(role, "*", "ecr:GetAuthorizationToken")
            or not self._may(role, arn, *_PUSHING)
        ):
            running.failure = f"denied: not authorized to push to {path}\n"
            return
        try:
            repository.push(work.digest, tag, work.manifest)
        except Refused as refused:
            running.failure = f"{refused.message}\n"

    def _stop(self, given: Given, session: Session | None) -> Given:
        running = self._running(given["id"])
        with self._account.lock:
            if not running.is_over:
                running.stopped = True
                if running.work is not None:
                    running.work.stop()
        return {"build": self._shown(running)}

    def _get(self, given: Given, session: Session | None) -> Given:
        there = [self._shown(self.made[name]) for name in given["ids"] if name in self.made]
        return {"builds": there, "buildsNotFound": [name for name in given["ids"] if name not in self.made]}

    def _list(self, given: Given, session: Session | None) -> Given:
        ids = [name for name in self.made if name.startswith(f"{given['projectName']}:")]
        return {"ids": (ids[::-1] if given.get("sortOrder") == "DESCENDING" else ids)[:LISTED_MAX]} if ids else {}

    def _log(self, given: Given, session: Session | None) -> Given:
        """Pages of some lines, so that reading them takes more than one call. A token says where to go on."""
        project = given["logGroupName"].removeprefix("/aws/codebuild/")
        running = self.made.get(f"{project}:{given['logStreamName']}")
        if running is None:
            raise Refused("ResourceNotFoundException", "The specified log stream does not exist.")
        self._settle(running)
        lines = running.log.splitlines(keepends=True)
        if not running.is_over and lines and not lines[-1].endswith("\n"):
            lines.pop()
        first = int(given["nextToken"].split("/")[1]) if given.get("nextToken") else 0
        if self.empty_pages:
            self.empty_pages -= 1
            token = f"f/{first}/{self.empty_pages}"
            return {"events": [], "nextForwardToken": token, "nextBackwardToken": f"b/{first}"}
        if not given.get("startFromHead", False) and not given.get("nextToken"):
            first = max(len(lines) - 1000, 0)
            page = lines[first:]
        else:
            page = lines[first : first + PAGE_LINES]
        at = int(running.at.timestamp() * 1000)
        events = [{"timestamp": at, "message": line, "ingestionTime": at} for line in page]
        return {
            "events": events,
            "nextForwardToken": f"f/{first + len(page)}",
            "nextBackwardToken": f"b/{first}",
        }

    def _running(self, build_id: str) -> Running:
        if build_id not in self.made:
            raise Refused("ResourceNotFoundException", f"Build {build_id} does not exist")
        return self.made[build_id]

    def _shown(self, running: Running) -> Given:
        self._settle(running)
        project, _, stream = running.id.partition(":")
        status = running.status
        phases: list[Given] = [{"phaseType": "SUBMITTED", "phaseStatus": "SUCCEEDED"}]
        if status == "FAILED":
            message = "Error while executing command: docker build. Reason: exit status 1"
            context = {"statusCode": "COMMAND_EXECUTION_ERROR", "message": running.failure or message}
            phases.append({"phaseType": "BUILD", "phaseStatus": "FAILED", "contexts": [context]})
        ended: Given = {"endTime": datetime.now(UTC)} if status != "IN_PROGRESS" else {}
        environment = {**running.project["environment"]}
        environment["environmentVariables"] = running.given.get("environmentVariablesOverride", [])
        return {
            "id": running.id,
            "arn": self._account.arn("codebuild", f"build/{running.id}"),
            "buildNumber": running.number,
            "startTime": running.at,
            "buildStatus": status,
            "buildComplete": status != "IN_PROGRESS",
            "currentPhase": "BUILD" if status == "IN_PROGRESS" else "COMPLETED",
            "projectName": project,
            "phases": phases,
            "environment": environment,
            "logs": {"groupName": f"/aws/codebuild/{project}", "streamName": stream},
            **ended,
        }

    def _shown_project(self, given: Given) -> Given:
        names = ("name", "source", "artifacts", "environment", "serviceRole", "timeoutInMinutes", "logsConfig", "tags")
        shown = {name: given[name] for name in names if name in given}
        return {**shown, "arn": self._account.arn("codebuild", f"project/{given['name']}")}


def _before(text: str) -> str:
    """The program that the build specification puts before the function's own; none as a rule."""
    found = _OPENER.search(text)
    return base64.b64decode(found[1]).decode() if found else ""


def _spec_problem(text: str, variables: dict[str, str]) -> str:
    """What CodeBuild would say of the build specification. Ours is JSON, which is YAML too."""
    try:
        spec = json.loads(text)
        commands = spec["phases"]["build"]["commands"]
    except (ValueError, KeyError, TypeError) as error:
        return f"the build specification cannot be read: {error}"
    if spec.get("version") != 0.2:
        return "version must be 0.2"
    missing = {"DCF_IMAGE", "DCF_REGISTRY", "DART_VERSION"} - variables.keys()
    if missing or not any("docker push" in command for command in commands):
        return f"nothing is pushed: {sorted(missing)}"
    return ""
