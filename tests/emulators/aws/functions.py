"""Lambda: functions of images, which really run and answer, with versions, aliases, URLs and who may call them."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from tests.emulators.aws.account import REGION, Account, Session
from tests.emulators.aws.answers import Denied, Refused
from tests.emulators.aws.images import Images
from tests.emulators.images import Container, Workshop

# How long a change takes, and how long a container may take to listen: Lambda gives ten seconds, and no machine that is busy
# with other tests.
SETTLE_SECONDS = 0.1
START_SECONDS_MAX = 40.0
SESSION_SECONDS = 3600
LOG_BYTES_MAX = 4096
# Of all variables together; and what Lambda sets itself, from Amazon's pages.
VARIABLES_BYTES_MAX = 4096
RESERVED = re.compile(
    r"_HANDLER|_X_AMZN_TRACE_ID|AWS_(DEFAULT_)?REGION|AWS_EXECUTION_ENV|AWS_LAMBDA_(FUNCTION|LOG|RUNTIME|INITIALIZATION)_\w+"
    r"|AWS_ACCESS_KEY(_ID)?|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|LAMBDA_(TASK_ROOT|RUNTIME_DIR)"
)
_ADAPTER = ("AWS_LWA_PORT", "AWS_LWA_READINESS_CHECK_PATH")
_NOBODY = "lambda:InvokeFunctionUrl", "lambda:InvokeFunction"
Given = dict[str, Any]


@dataclass
class Version:
    """$LATEST, or what was published."""

    name: str
    configuration: Given
    image: str
    made: str
    container: Container | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Function:
    """One function, and all that belongs to it."""

    name: str
    latest: Version
    tags: dict[str, str]
    ready_at: float
    is_new: bool = True
    revision: str = field(default_factory=lambda: str(uuid4()))
    versions: dict[str, Version] = field(default_factory=dict)
    published: int = 0
    aliases: dict[str, Given] = field(default_factory=dict)
    urls: dict[str, Given] = field(default_factory=dict)
    policies: dict[str, dict[str, Given]] = field(default_factory=dict)
    changed: bool = True
    # Why Lambda could not make it; it is what it is until it is removed.
    failure: str = ""


class Functions:
    """Of one account. `base` is where function URLs begin."""

    def __init__(self, account: Account, workshop: Workshop, images: Images) -> None:
        self._account, self._workshop, self._images = account, workshop, images
        self.base = ""
        # Where programs find Secrets Manager.
        self.vault = ""
        self.there: dict[str, Function] = {}
        # Why functions cannot be made from now on; those that are there are not affected.
        self.failure = ""
        self.methods = {
            "AddPermission": self._permit,
            "CreateAlias": self._create_alias,
            "CreateFunction": self._create,
            "CreateFunctionUrlConfig": self._create_url,
            "DeleteAlias": self._delete_alias,
            "DeleteFunction": self._delete,
            "GetAlias": self._get_alias,
            "GetFunction": self._get,
            "GetFunctionConfiguration": self._get_configuration,
            "GetFunctionUrlConfig": self._get_url,
            "GetPolicy": self._get_policy,
            "Invoke": self._invoke,
            "ListVersionsByFunction": self._list_versions,
            "PublishVersion": self._publish,
            "RemovePermission": self._forbid,
            "UpdateAlias": self._update_alias,
            "UpdateFunctionCode": self._update_code,
            "UpdateFunctionConfiguration": self._update_configuration,
            "UpdateFunctionUrlConfig": self._update_url,
        }

    def close(self) -> None:
        for function in self.there.values():
            _stop(function)

    def names(self) -> list[str]:
        return [
            f"{function.name}:{version.name} {version.configuration['Description']}"
            for function in self.there.values()
            for version in function.versions.values()
        ]

    def _create(self, given: Given, session: Session | None) -> Given:
        name = given["FunctionName"]
        _check_variables(given)
        self._check_role(given["Role"], session)
        version = self._version(given["Code"]["ImageUri"], given)
        with self._account.lock:
            if name in self.there:
                raise Refused("ResourceConflictException", f"Function already exist: {name}", 409)
            function = Function(name, version, dict(given.get("Tags", {})), time.monotonic() + SETTLE_SECONDS)
            function.failure = self.failure
            self.there[name] = function
        return self._shown(function, function.latest)

    def _update_configuration(self, given: Given, session: Session | None) -> Given:
        function = self._changeable(given)
        _check_variables(given)
        if "Role" in given:
            self._check_role(given["Role"], session)
        kept = ("Description", "Role", "MemorySize", "Timeout", "Environment")
        function.latest.configuration.update({key: given[key] for key in kept if key in given})
        return self._changed(function)

    def _update_code(self, given: Given, _: Session | None) -> Given:
        function = self._changeable(given)
        version = self._version(given["ImageUri"], function.latest.configuration)
        function.latest.image, function.latest.made = version.image, version.made
        return self._changed(function)

    def _publish(self, given: Given, _: Session | None) -> Given:
        """Unless $LATEST changed since, it is the version published before."""
        function = self._changeable(given)
        if function.changed:
            function.published += 1
            name = str(function.published)
            configuration = {**function.latest.configuration}
            configuration["Description"] = given.get("Description", configuration.get("Description", ""))
            function.versions[name] = Version(name, configuration, function.latest.image, function.latest.made)
            function.changed = False
        return self._shown(function, function.versions[str(function.published)])

    def _changeable(self, given: Given) -> Function:
        function = self._function(given)
        if not self._is_settled(function):
            raise Refused(
                "ResourceConflictException",
                f"The operation cannot be performed at this time. An update is in progress for resource: {self._arn(function)}",
                409,
            )
        if given.get("RevisionId", function.revision) != function.revision:
            raise Refused("PreconditionFailedException", "The Revision Id provided does not match.", 412)
        if function.failure:
            raise Refused(
                "InvalidParameterValueException", "The function is in the Failed state: remove it, make it anew."
            )
        return function

    def _changed(self, function: Function) -> Given:
        function.ready_at, function.changed = time.monotonic() + SETTLE_SECONDS, True
        function.revision = str(uuid4())
        return self._shown(function, function.latest)

    def _is_settled(self, function: Function) -> bool:
        settled = time.monotonic() >= function.ready_at
        if settled and function.ready_at:
            # The end of a change is a change too.
            function.ready_at, function.is_new, function.revision = 0.0, False, str(uuid4())
        return settled

    def _get(self, given: Given, session: Session | None) -> Given:
        function = self._function(given)
        version = self._qualified(function, given.get("Qualifier"))
        code = {"RepositoryType": "ECR", "ImageUri": version.image, "ResolvedImageUri": version.image}
        may_see = session is None or self._account.allows(session.role_arn, "lambda:ListTags", self._arn(function))
        tags = {"Tags": function.tags} if may_see and not given.get("Qualifier") else {}
        return {"Configuration": self._shown(function, version), "Code": code, **tags}

    def _get_configuration(self, given: Given, _: Session | None) -> Given:
        function = self._function(given)
        return self._shown(function, self._qualified(function, given.get("Qualifier")))

    def _list_versions(self, given: Given, _: Session | None) -> Given:
        function = self._function(given)
        versions = [function.latest, *function.versions.values()]
        first, count = int(given.get("Marker") or 0), given.get("MaxItems", 50)
        more: Given = {"NextMarker": str(first + count)} if first + count < len(versions) else {}
        return {"Versions": [self._shown(function, one) for one in versions[first : first + count]], **more}

    def _delete(self, given: Given, _: Session | None) -> Given:
        function, qualifier = self._function(given), given.get("Qualifier")
        if qualifier is None:
            _stop(self.there.pop(function.name))
            return {}
        if qualifier not in function.versions:
            raise self._missing(function, qualifier)
        if used := [name for name, alias in function.aliases.items() if alias["FunctionVersion"] == qualifier]:
            raise Refused("ResourceConflictException", f"An alias {used} points to this version.", 409)
        version = function.versions.pop(qualifier)
        if version.container is not None:
            version.container.stop()
        return {}

    def _create_alias(self, given: Given, _: Session | None) -> Given:
        function, name = self._function(given), given["Name"]
        if name in function.aliases:
            raise Refused("ResourceConflictException", f"Alias already exists: {name}", 409)
        self._qualified(function, given["FunctionVersion"])
        alias = {"AliasArn": f"{self._arn(function)}:{name}", "Name": name, "Description": given.get("Description", "")}
        function.aliases[name] = {**alias, "FunctionVersion": given["FunctionVersion"], "RevisionId": str(uuid4())}
        return dict(function.aliases[name])

    def _update_alias(self, given: Given, _: Session | None) -> Given:
        alias = self._alias(given)
        if given.get("RevisionId", alias["RevisionId"]) != alias["RevisionId"]:
            raise Refused("PreconditionFailedException", "The Revision Id provided does not match.", 412)
        self._qualified(self._function(given), given["FunctionVersion"])
        alias.update({key: given[key] for key in ("FunctionVersion", "Description") if key in given})
        alias["RevisionId"] = str(uuid4())
        return dict(alias)

    def _get_alias(self, given: Given, _: Session | None) -> Given:
        return dict(self._alias(given))

    def _delete_alias(self, given: Given, _: Session | None) -> Given:
        """Of one that is not there nothing is said."""
        function, name = self._function(given), given["Name"]
        for kept in (function.aliases, function.urls, function.policies):
            kept.pop(name, None)
        return {}

    def _create_url(self, given: Given, _: Session | None) -> Given:
        function, qualifier = self._function(given), given["Qualifier"]
        self._alias({**given, "Name": qualifier})
        if qualifier in function.urls:
            raise Refused("ResourceConflictException", "FunctionUrlConfig exists for this Lambda function", 409)
        now = "2026-01-01T00:00:00Z"
        function.urls[qualifier] = {
            "FunctionUrl": f"{self.base}{uuid4().hex}/",
            "FunctionArn": f"{self._arn(function)}:{qualifier}",
            "AuthType": given["AuthType"],
            "CreationTime": now,
            "InvokeMode": "BUFFERED",
        }
        return dict(function.urls[qualifier])

    def _update_url(self, given: Given, _: Session | None) -> Given:
        url = self._url(given)
        url["AuthType"] = given.get("AuthType", url["AuthType"])
        return {**url, "LastModifiedTime": "2026-01-01T00:00:00Z"}

    def _get_url(self, given: Given, _: Session | None) -> Given:
        return {**self._url(given), "LastModifiedTime": "2026-01-01T00:00:00Z"}

    def _permit(self, given: Given, _: Session | None) -> Given:
        function, qualifier, sid = self._function(given), given.get("Qualifier", ""), given["StatementId"]
        if qualifier:
            self._qualified(function, qualifier)
        statements = function.policies.setdefault(qualifier, {})
        if sid in statements:
            raise Refused("ResourceConflictException", f"The statement id ({sid}) provided already exists.", 409)
        condition: Given = {}
        if "FunctionUrlAuthType" in given:
            condition["StringEquals"] = {"lambda:FunctionUrlAuthType": given["FunctionUrlAuthType"]}
        if given.get("InvokedViaFunctionUrl"):
            condition["Bool"] = {"lambda:InvokedViaFunctionUrl": "true"}
        statements[sid] = {
            "Sid": sid,
            "Effect": "Allow",
            "Principal": given["Principal"],
            "Action": given["Action"],
            "Resource": f"{self._arn(function)}:{qualifier}",
            "Condition": condition,
        }
        return {"Statement": json.dumps(statements[sid])}

    def _forbid(self, given: Given, _: Session | None) -> Given:
        statements = self._function(given).policies.get(given.get("Qualifier", ""), {})
        if statements.pop(given["StatementId"], None) is None:
            raise Refused("ResourceNotFoundException", "No policy is associated with the given resource.", 404)
        return {}

    def _get_policy(self, given: Given, _: Session | None) -> Given:
        statements = self._function(given).policies.get(given.get("Qualifier", ""), {})
        if not statements:
            raise Refused("ResourceNotFoundException", "The resource you requested does not exist.", 404)
        policy = {"Version": "2012-10-17", "Id": "default", "Statement": list(statements.values())}
        return {"Policy": json.dumps(policy), "RevisionId": str(uuid4())}

    def _invoke(self, given: Given, _: Session | None) -> Given:
        function = self._function(given)
        version = self._qualified(function, given.get("Qualifier"))
        return self.invoke(version, json.loads(given.get("Payload") or b"{}"))

    def invoke(self, version: Version, event: Given) -> Given:
        """What a version answers an event, as Invoke has it."""
        answer, error = self._run(version, event)
        log = version.container.log.encode()[-LOG_BYTES_MAX:] if version.container else b""
        result: Given = {
            "StatusCode": 200,
            "ExecutedVersion": version.name,
            "LogResult": base64.b64encode(log).decode(),
            "Payload": json.dumps(answer).encode(),
        }
        return {**result, "FunctionError": error} if error else result

    def answer_url(
        self, url_id: str, event: Given, *, may_call: Callable[[], bool]
    ) -> tuple[int, dict[str, str], bytes]:
        """What a function URL answers: a status, headers and a body. `may_call` is asked only where IAM says who may, and
        may raise Refused."""
        found = [
            (function, name)
            for function in self.there.values()
            for name, url in function.urls.items()
            if url["FunctionUrl"].rstrip("/").endswith(url_id)
        ]
        if not found:
            return 404, {}, b'{"Message":null}'
        [(function, name)] = found
        if not (may_call() if function.urls[name]["AuthType"] == "AWS_IAM" else _anybody_may(function, name)):
            return (
                403,
                {},
                b'{"Message":"Forbidden. For troubleshooting Function URL authorization issues, see the guide."}',
            )
        answer, error = self._run(self._qualified(function, name), event)
        if error:
            return 502, {}, b"Internal Server Error"
        return int(answer["statusCode"]), dict(answer["headers"]), base64.b64decode(answer["body"])

    def _run(self, version: Version, event: Given) -> tuple[Given, str]:
        """The adapter's work: the event becomes a request to the container, and its answer a result."""
        error = self._start(version)
        if error:
            return {"errorType": "Runtime.ExitError", "errorMessage": error}, "Unhandled"
        assert version.container is not None
        asked = event["requestContext"]["http"]
        content = event.get("body", "")
        try:
            answer = httpx.request(
                asked["method"],
                f"http://127.0.0.1:{version.container.port}{event['rawPath']}?{event['rawQueryString']}".rstrip("?"),
                headers={name: value for name, value in event["headers"].items() if name != "content-length"},
                content=base64.b64decode(content) if event.get("isBase64Encoded") else content.encode(),
                timeout=float(version.configuration.get("Timeout", 3)),
            )
        except httpx.HTTPError as failed:
            return {"errorType": "Extension.Crash", "errorMessage": f"Task timed out or ended: {failed}"}, "Unhandled"
        dropped = {"content-length", "transfer-encoding", "connection", "content-encoding"}
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in dropped}
        body = base64.b64encode(answer.content).decode()
        return {"statusCode": answer.status_code, "headers": headers, "body": body, "isBase64Encoded": True}, ""

    def _start(self, version: Version) -> str:
        """Have it running: why that did not succeed, or nothing."""
        with version.lock:
            if version.container is not None and version.container.answers:
                return ""
            variables = version.configuration.get("Environment", {}).get("Variables", {})
            given = {name: value for name, value in variables.items() if name not in (*_ADAPTER, "PORT")}
            version.container = self._workshop.run(version.made, {**given, **self._lambdas(version)})
            until = time.monotonic() + START_SECONDS_MAX
            while time.monotonic() < until:
                if version.container.answers:
                    return ""
                if not version.container.is_running:
                    return "RequestId: 0 Error: Runtime exited with error: exit status 3"
                time.sleep(0.02)
            return "RequestId: 0 Error: Task timed out"

    def _lambdas(self, version: Version) -> dict[str, str]:
        """What Lambda itself gives a program: whose keys it has, and where it is."""
        session = self._account.become(version.configuration["Role"], "function", SESSION_SECONDS)
        return {
            "AWS_ACCESS_KEY_ID": session.access_key,
            "AWS_SECRET_ACCESS_KEY": session.secret,
            "AWS_SESSION_TOKEN": session.token,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.vault,
        }

    def _version(self, image: str, given: Given) -> Version:
        found = self._images.find(image)
        if found is None:
            raise Refused(
                "InvalidParameterValueException", f"Source image {image} does not exist. Provide a valid source image."
            )
        repository, digest = found
        if "lambda.amazonaws.com" not in repository.policy:
            raise Refused(
                "InvalidParameterValueException",
                f"Source image {image} is not valid. Lambda does not have permission to access the ECR image. Check the ECR "
                "permissions.",
            )
        kept = ("Description", "Role", "MemorySize", "Timeout", "Environment", "Architectures")
        configuration = {key: given[key] for key in kept if key in given}
        return Version(
            "$LATEST", configuration, f"{self._images.host}/{repository.name}@{digest}", repository.made[digest]
        )

    def _check_role(self, role: str, session: Session | None) -> None:
        if role.split(":")[4] != self._account.id:
            raise Refused("AccessDeniedException", "Cross-account pass role is not allowed.", 403)
        self._account.require(session, "iam:PassRole", role, **{"iam:PassedToService": "lambda.amazonaws.com"})
        if not self._account.trusts_service(role, "lambda.amazonaws.com"):
            raise Refused(
                "InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda."
            )

    def _shown(self, function: Function, version: Version) -> Given:
        settled = self._is_settled(function)
        pending = not settled and function.is_new
        arn = self._arn(function) + ("" if version.name == "$LATEST" else f":{version.name}")
        seen: Given = {
            "FunctionName": function.name,
            "FunctionArn": arn,
            "Version": version.name,
            "PackageType": "Image",
            "CodeSha256": version.image.rpartition(":")[2],
            "RevisionId": function.revision,
            "State": "Pending" if pending else "Failed" if function.failure else "Active",
            "LastUpdateStatus": "Successful" if settled or pending else "InProgress",
            "LastModified": "2026-01-01T00:00:00.000+0000",
            **version.configuration,
        }
        if function.failure and not pending:
            seen["StateReason"] = function.failure
        return seen

    def _function(self, given: Given) -> Function:
        name = given["FunctionName"]
        if name not in self.there:
            raise Refused(
                "ResourceNotFoundException",
                f"Function not found: {self._account.arn('lambda', f'function:{name}')}",
                404,
            )
        return self.there[name]

    def _qualified(self, function: Function, qualifier: str | None) -> Version:
        if qualifier in (None, "$LATEST"):
            return function.latest
        named = function.aliases.get(str(qualifier), {}).get("FunctionVersion", qualifier)
        if named not in function.versions:
            raise self._missing(function, str(qualifier))
        return function.versions[named]

    def _alias(self, given: Given) -> Given:
        function = self._function(given)
        if given["Name"] not in function.aliases:
            raise Refused("ResourceNotFoundException", f"Alias not found: {self._arn(function)}:{given['Name']}", 404)
        return function.aliases[given["Name"]]

    def _url(self, given: Given) -> Given:
        urls = self._function(given).urls
        if given.get("Qualifier") not in urls:
            raise Refused("ResourceNotFoundException", "The resource you requested does not exist.", 404)
        return urls[given["Qualifier"]]

    def _missing(self, function: Function, qualifier: str) -> Refused:
        return Refused("ResourceNotFoundException", f"Function not found: {self._arn(function)}:{qualifier}", 404)

    def _arn(self, function: Function) -> str:
        return self._account.arn("lambda", f"function:{function.name}")

    def by_arn(self, arn: str) -> Version:
        """The version that `…:function:name:qualifier` names. Raises Refused."""
        name, _, qualifier = arn.partition(":function:")[2].partition(":")
        return self._qualified(self._function({"FunctionName": name}), qualifier or None)

    def require_caller(self, role: str, arn: str) -> None:
        """Raises Denied unless the role may call it."""
        if not self._account.allows(role, "lambda:InvokeFunction", arn):
            raise Denied(role, "lambda:InvokeFunction", arn)


def _anybody_may(function: Function, qualifier: str) -> bool:
    """Both permissions, as since October 2025."""
    statements = function.policies.get(qualifier, {}).values()
    open_to_all = {one["Action"] for one in statements if one["Principal"] == "*"}
    return set(_NOBODY) <= open_to_all


def _stop(function: Function) -> None:
    for version in (function.latest, *function.versions.values()):
        if version.container is not None:
            version.container.stop()


def _check_variables(given: Given) -> None:
    """Raises Refused for what Lambda does not take as a function's variables."""
    variables = given.get("Environment", {}).get("Variables", {})
    unable = (
        "Lambda was unable to configure your environment variables because the environment variables you have provided"
    )
    if taken := sorted(name for name in variables if RESERVED.fullmatch(name)):
        raise Refused(
            "InvalidParameterValueException",
            f"{unable} contains reserved keys that are currently not supported for modification. Reserved keys used in this "
            f"request: {', '.join(taken)}",
        )
    if len(json.dumps(variables, separators=(",", ":"), ensure_ascii=False).encode()) > VARIABLES_BYTES_MAX:
        raise Refused("InvalidParameterValueException", f"{unable} exceeded the 4KB limit.")
