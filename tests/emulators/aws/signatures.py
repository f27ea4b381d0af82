"""Signatures of requests, version 4, in their headers or their address: computed anew by botocore's own signers, and compared."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from werkzeug.datastructures import Headers

from tests.emulators.aws.answers import Refused

ALGORITHM = "AWS4-HMAC-SHA256"
TIME = "%Y%m%dT%H%M%SZ"
SKEW = timedelta(minutes=5)
SKEW_OF_S3 = timedelta(minutes=15)
SECONDS_MAX = 7 * 24 * 3600
_HASH, _DATE, _TOKEN = "X-Amz-Content-SHA256", "X-Amz-Date", "X-Amz-Security-Token"
_AT_HOME_IN = {"iam": "us-east-1", "sts": "us-east-1"}
_UNMATCHED = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and "
    "signing method. Consult the service documentation for details."
)


@dataclass(frozen=True)
class Sent:
    """A request as it came, before anybody looked into it."""

    method: str
    uri: str
    headers: Headers
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.uri).query, keep_blank_values=True))


@dataclass(frozen=True)
class Signature:
    """What a request says of its signature. `seconds` is how long an address is good for; 0 for one in the headers."""

    access_key: str
    scope: tuple[str, str, str, str]
    names: frozenset[str]
    value: str
    at: str
    token: str
    seconds: int = 0


def signature_of(sent: Sent, protocol: str) -> Signature | None:
    """What is said; None when the request has none. Raises Refused for one that cannot be read."""
    try:
        if "X-Amz-Signature" in sent.query:
            return _in_address(sent.query)
        words = sent.headers.get("Authorization", "")
        return _in_headers(words, sent.headers) if words else None
    except (KeyError, ValueError) as error:
        message = f"Authorization header or parameters are not whole: {error}"
        if protocol == "rest-xml":
            raise Refused("AuthorizationHeaderMalformed", message) from error
        raise Refused(
            "IncompleteSignature" if protocol == "query" else "IncompleteSignatureException", message
        ) from error


def unsigned() -> Refused:
    """What is said of a request without a signature."""
    return Refused("MissingAuthenticationToken", "Request is missing Authentication Token", 403)


def check(sent: Sent, signature: Signature, secret: str, service: str, region: str, protocol: str) -> None:
    """Raises Refused unless it was made with this secret, for this very request, a moment ago."""
    for problem in _problems(sent, signature, secret, service, region):
        raise _refused(problem, protocol, signature)


def _in_headers(words: str, headers: Headers) -> Signature:
    algorithm, _, rest = words.partition(" ")
    if algorithm != ALGORITHM:
        raise ValueError(algorithm)
    given = dict(part.strip().split("=", 1) for part in rest.split(","))
    access_key, *scope = given["Credential"].split("/")
    return Signature(
        access_key=access_key,
        scope=_scope(scope),
        names=frozenset(given["SignedHeaders"].split(";")),
        value=given["Signature"],
        at=headers[_DATE],
        token=headers.get(_TOKEN, ""),
    )


def _in_address(query: Mapping[str, str]) -> Signature:
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise ValueError(query["X-Amz-Algorithm"])
    access_key, *scope = query["X-Amz-Credential"].split("/")
    seconds = int(query["X-Amz-Expires"])
    if not 0 < seconds <= SECONDS_MAX:
        raise ValueError(f"X-Amz-Expires={seconds}")
    return Signature(
        access_key=access_key,
        scope=_scope(scope),
        names=frozenset(query["X-Amz-SignedHeaders"].split(";")),
        value=query["X-Amz-Signature"],
        at=query[_DATE],
        token=query.get(_TOKEN, ""),
        seconds=seconds,
    )


def _scope(words: list[str]) -> tuple[str, str, str, str]:
    day, region, service, last = words
    return day, region, service, last


def _problems(sent: Sent, signature: Signature, secret: str, service: str, region: str) -> Iterator[str]:
    day, its_region, its_service, last = signature.scope
    if its_region not in (region, _AT_HOME_IN.get(service, region)):
        yield f"Credential should be scoped to a valid region, not '{its_region}'."
    if its_service != service or last != "aws4_request":
        yield f"Credential should be scoped to correct service: '{service}'."
    if day != signature.at[:8]:
        yield f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{day}'"
    yield from _late(signature, SKEW_OF_S3 if service == "s3" else SKEW)
    must = {"host"} if signature.seconds else {"host", *(name.lower() for name, _ in sent.headers if _is_amazons(name))}
    if missing := sorted(must - signature.names):
        yield f"'{missing[0]}' must be a 'SignedHeader' in the AWS Authorization."
    if (named := sent.headers.get(_HASH, "")) and named != hashlib.sha256(sent.body).hexdigest() and _is_hash(named):
        yield f"The provided '{_HASH.lower()}' header does not match what was computed."
    if not hmac.compare_digest(_computed(sent, signature, secret, service), signature.value):
        yield _UNMATCHED


def _late(signature: Signature, skew: timedelta) -> Iterator[str]:
    at, now = datetime.strptime(signature.at, TIME).replace(tzinfo=UTC), datetime.now(UTC)
    until = at + timedelta(seconds=signature.seconds) if signature.seconds else at + skew
    if now > until:
        yield f"Signature expired: {signature.at} is now earlier than {(now - skew).strftime(TIME)}"
    if at > now + skew:
        yield f"Signature not yet current: {signature.at} is still later than {(now + skew).strftime(TIME)}"


def _is_amazons(name: str) -> bool:
    return name.lower().startswith("x-amz-")


def _is_hash(text: str) -> bool:
    """Hexadecimal digits of SHA-256, and not one of the words that stand for a body that is not signed."""
    return len(text) == 64


def _computed(sent: Sent, signature: Signature, secret: str, service: str) -> str:
    """The signature as whoever has the secret makes it, of what was signed."""
    _, region, its_service, _ = signature.scope
    credentials = ReadOnlyCredentials(signature.access_key, secret, signature.token or None)
    in_address = bool(signature.seconds)
    kinds = {True: (S3SigV4Auth, S3SigV4QueryAuth), False: (SigV4Auth, SigV4QueryAuth)}
    signer = kinds[service == "s3"][in_address](credentials, its_service, region)
    address = urlsplit(sent.uri)
    kept = "&".join(part for part in address.query.split("&") if part and not part.startswith("X-Amz-Signature="))
    url = f"http://{sent.headers.get('Host', '')}{address.path}" + (f"?{kept}" if kept else "")
    headers = {name: value for name, value in sent.headers if name.lower() in signature.names}
    request = AWSRequest(method=sent.method, url=url, headers=headers, data=sent.body)
    request.context["timestamp"] = signature.at
    return str(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))


def _refused(problem: str, protocol: str, signature: Signature) -> Refused:
    is_late, is_body = problem.startswith("Signature "), problem.startswith("The provided")
    match protocol:
        case "rest-xml" if is_late and signature.seconds:
            return Refused("AccessDenied", "Request has expired", 403)
        case "rest-xml" if is_late:
            return Refused(
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
                403,
            )
        case "rest-xml" if is_body:
            return Refused("XAmzContentSHA256Mismatch", problem)
        case "rest-xml" if problem.startswith(("Credential", "Date")):
            return Refused("AuthorizationHeaderMalformed", problem)
        case "query" | "rest-xml":
            return Refused("SignatureDoesNotMatch", problem, 403)
        case _:
            return Refused("InvalidSignatureException", problem, 403)
