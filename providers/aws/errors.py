"""What Amazon's answers mean: worth another try, or a refusal with the command that mends it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ParamValidationError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as Unconnected

from domain.clouds import AwsIdentity
from providers.provider import ProviderBusy, ProviderRefused, ProviderUnreachable

BUSY_SECONDS = 2.0
THROTTLED_SECONDS = 5.0
BUSY_SECONDS_MAX = 120.0
MESSAGE_CHARACTERS_MAX = 1500
MISSING_POLICY = "dcf-missing"
DENIED_OUTRIGHT = (
    "A policy denies it outright: a service control policy of the organization, a permissions boundary, or the role's own; "
    "whoever keeps that policy mends it."
)

_THROTTLED = frozenset(
    {
        "AccountLimitExceededException",  # As many builds wait as CodeBuild lets.
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_IN_CONFLICT = frozenset(
    {
        "ConcurrentModification",
        "ConcurrentModificationException",
        "ConditionalRequestConflict",
        "ConflictException",
        "OperationAborted",
        "PreconditionFailedException",
        "ResourceConflictException",
        "ResourceInUseException",
        "ResourceNotReadyException",
    }
)
# What was sent did not arrive whole, or not in time, which comes as a 400.
_CUT_OFF = frozenset({"IncompleteBody", "PriorRequestNotComplete", "RequestTimeout", "RequestTimeoutException"})
_CREDENTIALS_OVER = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "UnrecognizedClientException",
    }
)
# Signed with the wrong secret, or at another time than it is.
_UNSIGNED = frozenset(
    {
        "AuthFailure",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_MISSING = frozenset(
    {
        "404",
        "ImageNotFoundException",
        "NoSuchBucket",
        "NoSuchKey",
        "NoSuchUpload",
        "RepositoryNotFoundException",
        "ResourceNotFoundException",
    }
)
_DENIED = frozenset({"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"})


class Answered(Exception):
    """A call was answered with an error. `code` is Amazon's own word for it, such as `ResourceNotFoundException`."""

    def __init__(
        self, call: str, code: str, message: str, http_status: int, *, retry_in_seconds: float | None = None
    ) -> None:
        super().__init__(f"{call}: {code}: {message}")
        self.call, self.code, self.message, self.http_status = call, code, message, http_status
        self.retry_in_seconds = retry_in_seconds

    @property
    def is_missing(self) -> bool:
        """Whether it says that there is no such thing."""
        return self.code in _MISSING

    @property
    def is_denied(self) -> bool:
        explained = self.are_credentials_over or self.is_unsigned
        return self.code in _DENIED or (self.http_status == 403 and not explained)

    @property
    def is_unsigned(self) -> bool:
        """Whether the signature is what it does not take."""
        return self.code in _UNSIGNED

    @property
    def is_distrusted(self) -> bool:
        """Whether a role is said not to let one of Amazon's services become it: lastingly, or for some seconds yet."""
        return "cannot be assumed by" in self.message or "to assume the role" in self.message

    @property
    def says_nothing(self) -> bool:
        """Whether it is a refusal without a word why."""
        return self.code in ("400", "403")

    @property
    def are_credentials_over(self) -> bool:
        return self.code in _CREDENTIALS_OVER


def answered(error: ClientError) -> Answered:
    """The error in botocore's."""
    said: dict[str, Any] = error.response.get("Error", {})
    about: dict[str, Any] = error.response.get("ResponseMetadata", {})
    status = int(about.get("HTTPStatusCode", 0))
    wait = _seconds(str(dict(about.get("HTTPHeaders", {})).get("retry-after", "")))
    code = str(said.get("Code", "")).rpartition("#")[2]
    message = str(said.get("Message") or error.response.get("message") or code)
    return Answered(error.operation_name, code, message, status, retry_in_seconds=wait)


def unanswered(error: BotoCoreError) -> ProviderUnreachable | ProviderRefused:
    """What a call that brought no answer means: whether it had its effect is not known."""
    if isinstance(error, ParamValidationError):
        return ProviderRefused("aws_rejected", _short(str(error)), "Mend what the message names, and deploy again.")
    if isinstance(error, Unconnected | HTTPClientError | IncompleteReadError | ResponseStreamingError):
        return ProviderUnreachable(f"AWS does not answer: {_short(str(error))}")
    return ProviderUnreachable(f"AWS answered what cannot be read: {_short(str(error))}")


LET_LAMBDA_READ = (
    "Let Lambda read the repository: run the ecr_repository commands that POST …/aws/oidc/setup-commands shows for its name"
    " (of a repository that is there, the second alone)."
)


def told(error: Answered, identity: AwsIdentity) -> ProviderBusy | ProviderRefused:
    """What the runner is told of it. Only a refusal is final."""
    if error.http_status == 429 or error.code in _THROTTLED:
        return _busy(f"AWS throttles: {_short(error.message)}", error, THROTTLED_SECONDS)
    if error.http_status >= 500 or error.code in _CUT_OFF:
        return ProviderUnreachable(f"AWS failed: {_short(error.message)}", retry_in_seconds=_wait(error, BUSY_SECONDS))
    if error.code in _IN_CONFLICT or error.http_status == 412:
        return _busy(f"AWS is busy: {_short(error.message)}", error, BUSY_SECONDS)
    if error.are_credentials_over:
        return ProviderBusy(f"AWS did not take the credentials: {_short(error.message)}", retry_in_seconds=BUSY_SECONDS)
    if error.is_unsigned:
        return ProviderRefused(
            "AWS_SIGNATURE_REFUSED",
            f"AWS does not take the signature of a request: {_short(error.message)}",
            "The operator of this service sees that its clock is right, to five minutes, and that no proxy changes what it sends.",
        )
    if "cannot be assumed by" in error.message:
        # A role that was made a moment ago; a minute is what Amazon itself waits.
        return ProviderBusy(f"AWS is busy: {_short(error.message)}", retry_in_seconds=THROTTLED_SECONDS)
    if error.is_denied:
        return denied(error, identity)
    if error.is_missing:
        return ProviderRefused(
            "aws_not_found", _short(error.message), "Make it, or name another one, and deploy again."
        )
    if "permission to access the ECR image" in error.message:
        return ProviderRefused("AWS_IMAGE_NOT_READABLE", _short(error.message), LET_LAMBDA_READ)
    return ProviderRefused("aws_rejected", _short(error.message), "Mend what the message names, and deploy again.")


def _busy(message: str, error: Answered, seconds: float) -> ProviderBusy:
    return ProviderBusy(message, retry_in_seconds=_wait(error, seconds))


def _wait(error: Answered, seconds: float) -> float:
    """What Amazon asks for, within reason, or else what is usual."""
    return min(seconds if error.retry_in_seconds is None else error.retry_in_seconds, BUSY_SECONDS_MAX)


def _seconds(text: str) -> float | None:
    """The `3` of a Retry-After; None for anything else."""
    try:
        return max(float(text), 0.0)
    except ValueError:
        return None


def denied(
    error: Answered, identity: AwsIdentity, *, action: str = "", resource: str = "", remedy: str = ""
) -> ProviderRefused:
    """The refusal for an action the role may not take. The call's own words name it, where they do. `remedy` is for what
    takes more than this one action."""
    named = lacking(error.message)
    action = named[0] if named else action
    resource = (named[1] if named and named[1] else resource) or "*"
    if "explicit deny" in error.message:
        return ProviderRefused(
            "AWS_PERMISSION_DENIED",
            _short(error.message),
            DENIED_OUTRIGHT,
        )
    if not action:
        return ProviderRefused(
            "AWS_PERMISSION_DENIED",
            _short(error.message),
            "Run the role_policy command that GET …/aws/oidc/setup-commands shows.",
        )
    return ProviderRefused("AWS_PERMISSION_DENIED", _short(error.message), remedy or grant(identity, action, resource))


def lacking(message: str) -> tuple[str, str] | None:
    """The action that somebody may not take, and on what, where Amazon's words say so."""
    named = re.search(r"not authorized to perform: ([\w-]+:\w+)(?: on resource: (\S+))?", message)
    return (named[1], (named[2] or "").rstrip(".,")) if named else None


def grant(identity: AwsIdentity, action: str, resource: str) -> str:
    """The command that lets the project's role take one action."""
    return grant_to(identity.role_arn, action, resource)


def grant_to(role_arn: str, action: str | list[str], resource: str) -> str:
    """The command that lets a role take an action, or several of one service."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return _put_policy(role_arn, _slug(action, resource), document([statement]))


def grant_statements(role_arn: str, statements: list[dict[str, Any]]) -> str:
    """The command that lets a role do several things; its policy takes the place of no other one."""
    text = document(statements)
    return _put_policy(role_arn, hashlib.sha256(text.encode()).hexdigest()[:16], text)


def _put_policy(role_arn: str, name: str, text: str) -> str:
    return command(
        "aws",
        "iam",
        "put-role-policy",
        "--role-name",
        role_name(role_arn),
        "--policy-name",
        f"{MISSING_POLICY}-{name}",
        "--policy-document",
        text,
    )


def _slug(action: str | list[str], resource: str) -> str:
    """For the name of a policy, which takes the place of no other one: the action, or the service of several, and on what."""
    name = action.replace(":", "-") if isinstance(action, str) else action[0].partition(":")[0]
    return f"{name}-{hashlib.sha256(resource.encode()).hexdigest()[:8]}"


def document(statements: list[dict[str, Any]]) -> str:
    """A policy document of these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def role_name(role_arn: str) -> str:
    """The name in `arn:aws:iam::123456789012:role/path/name`."""
    return role_arn.rpartition("/")[2]


def command(*words: str) -> str:
    """The words as a line for a shell."""
    return " ".join(shlex.quote(word) for word in words)


def _short(message: str) -> str:
    return message if len(message) <= MESSAGE_CHARACTERS_MAX else f"{message[:MESSAGE_CHARACTERS_MAX]}…"
