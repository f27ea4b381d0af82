"""All emulated services of one account on one port: each request is checked, permitted, and then answered."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import ClientError
from moto.core.request import Request
from moto.core.utils import get_service_model
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.secretsmanager.models import secretsmanager_backends
from werkzeug.datastructures import Headers
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from tests.emulators.aws.account import CUSTOMER_KEY, CUSTOMER_SECRET, REGION, Account, Session
from tests.emulators.aws.answers import Refused, as_response
from tests.emulators.aws.builds import Builds
from tests.emulators.aws.faults import Faults
from tests.emulators.aws.functions import Functions
from tests.emulators.aws.images import Images
from tests.emulators.aws.kms import Kms
from tests.emulators.aws.permissions import actions_of, context_of, resource_of
from tests.emulators.aws.schedules import Schedules
from tests.emulators.aws.schema import Asked, asked, protocol_of
from tests.emulators.aws.signatures import Sent, signature_of, unsigned
from tests.emulators.aws.tokens import Tokens
from tests.emulators.images import Workshop

Method = Callable[[dict[str, Any], Session | None], dict[str, Any]]
Environ = dict[str, Any]
# Answered by moto, once they are permitted.
_MOTO = ("iam", "s3", "cloudformation", "secretsmanager")
_URLS = "function-url"
# How long it takes at most until a server that is closed is.
_LOOK_SECONDS = 0.05
# Whoever they are for is not known yet, or may always ask.
_OPEN = ("AssumeRoleWithWebIdentity",)
_ALWAYS = ("AssumeRoleWithWebIdentity", "GetCallerIdentity")


class Amazon:
    """Serves from threads of its own until it is closed."""

    def __init__(self, workshop: Workshop) -> None:
        self.account, self.faults = Account(), Faults()
        self.images = Images(self.account)
        self.functions = Functions(self.account, workshop, self.images)
        self.builds = Builds(self.account, workshop, self.images, self._object)
        self.schedules = Schedules(self.account, self.functions)
        # Every call that was answered, such as `lambda.GetFunction`.
        self.calls: list[str] = []
        tokens = Tokens(self.account)
        self._methods: dict[str, Mapping[str, Method]] = {
            "kms": Kms(self.account).methods,
            "sts": tokens.methods,
            "iam": tokens.iam,
            "ecr": self.images.methods,
            "lambda": self.functions.methods,
            "codebuild": self.builds.methods,
            "logs": self.builds.log_methods,
            "scheduler": self.schedules.methods,
        }
        self._clients: dict[str, Any] = {}
        self._one_at_a_time = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self.functions.base = f"http://127.0.0.1:{self.port}/{_URLS}/"
        self.functions.vault = self.endpoints.replace("{service}", "secretsmanager")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK_SECONDS,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.port)

    @property
    def endpoints(self) -> str:
        return f"http://127.0.0.1:{self.port}/{{service}}"

    def client(self, service: str) -> Any:
        """A client of the customer's own, who may do everything; the same one for the same service."""
        with self._one_at_a_time:
            if service not in self._clients:
                self._clients[service] = boto3.client(
                    service,
                    region_name=REGION,
                    endpoint_url=self.endpoints.replace("{service}", service),
                    aws_access_key_id=CUSTOMER_KEY,
                    aws_secret_access_key=CUSTOMER_SECRET,
                )
            return self._clients[service]

    def secrets(self) -> dict[str, str]:
        """What Secrets Manager keeps: values by name."""
        kept = secretsmanager_backends[self.account.id][REGION].secrets
        return {name: next(iter(secret.versions.values()))["secret_string"] for name, secret in kept.items()}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(timeout=10)
        for client in self._clients.values():
            client.close()
        self._server.server_close()
        self.functions.close()

    def _object(self, bucket: str, key: str) -> bytes | None:
        try:
            found: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError:
            return None
        return found

    def _answer(self, environ: Environ, start: Any) -> Iterable[bytes]:
        service, _, rest = environ["PATH_INFO"].removeprefix("/").partition("/")
        body = _read(environ)
        sent = Sent(environ["REQUEST_METHOD"], environ["RAW_URI"], Headers(Request(environ).headers), body)
        if service == _URLS:
            return self._answered_url(environ, rest, sent)(environ, start)
        _shift(environ, service)
        request = Request(environ)
        lost = False
        try:
            self._check_service(service)
            caller = self._caller(service, sent)
            wanted = asked(service, request)
            lost = self.faults.before(f"{service}.{wanted.name}")
            answer = self._permitted(wanted, caller, sent.body, environ)
        except Refused as refused:
            known = service in (*self._methods, *_MOTO)
            answer = as_response(refused, protocol_of(get_service_model(service)) if known else "json")
        if not lost:
            return answer(environ, start)
        _cut(environ)
        raise ConnectionAbortedError

    def _check_service(self, service: str) -> None:
        if service not in self._methods and service not in _MOTO:
            raise Refused("UnknownService", f"There is no service {service} here.", 404)

    def _caller(self, service: str, sent: Sent) -> tuple[Session | None] | None:
        """Whose request it is; None for nobody's, which only STS looks at. Raises Refused."""
        if service == "sts" and signature_of(sent, "query") is None:
            return None
        return (self.account.caller(sent, service, protocol_of(get_service_model(service))),)

    def _permitted(
        self, wanted: Asked, caller: tuple[Session | None] | None, body: bytes, environ: Environ
    ) -> Response:
        if caller is None and wanted.name not in _OPEN:
            raise unsigned()
        [session] = caller or (None,)
        if wanted.name not in _ALWAYS:
            for action in actions_of(wanted):
                self.account.require(session, action, resource_of(wanted, self.account), **context_of(wanted))
        self.calls.append(f"{wanted.service}.{wanted.name}")
        method = self._methods.get(wanted.service, {}).get(wanted.name)
        if method is None and wanted.service in _MOTO:
            return self._by_moto(environ, body)
        if method is None:
            raise Refused("NotEmulated", f"{wanted.service}.{wanted.name} is not emulated.", 501)
        given = {name: value for name, value in wanted.parameters.items() if value is not None}
        return wanted.answer(method(given, session))

    def _by_moto(self, environ: Environ, body: bytes) -> Response:
        body = self.faults.arrived(body)
        _check_digest(environ, body)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self.account.id
        return Response.from_app(_moto(), environ, buffered=True)

    def _answered_url(self, environ: Environ, rest: str, sent: Sent) -> Response:
        url_id, _, path = rest.partition("/")
        event = {
            "rawPath": f"/{path}",
            "rawQueryString": environ["QUERY_STRING"],
            "headers": {name.lower(): value for name, value in sent.headers.items()},
            "requestContext": {"http": {"method": sent.method, "path": f"/{path}"}},
            "body": base64.b64encode(sent.body).decode(),
            "isBase64Encoded": True,
        }

        def is_customers() -> bool:
            return self.account.caller(sent, "lambda", "rest-json") is None

        try:
            status, headers, content = self.functions.answer_url(url_id, event, may_call=is_customers)
        except Refused as refused:
            return Response(json.dumps({"Message": refused.message}), 403, content_type="application/json")
        return Response(content, status, headers)


class _Moto(DomainDispatcherApplication):
    """Looks up once what answers for a service: moto reads the folder of all its services for every request."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        self._found: dict[str | None, Any] = {}

    def get_backend_for_host(self, host: str | None) -> Any:
        if host not in self._found:
            self._found[host] = super().get_backend_for_host(host)
        return self._found[host]


@cache
def _moto() -> _Moto:
    """One for all accounts: it holds nothing of them but their routes."""
    return _Moto()


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        """Tests have their own log."""


def _read(environ: Environ) -> bytes:
    """The whole body, kept for whoever reads it again."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _check_digest(environ: Environ, body: bytes) -> None:
    """S3 keeps nothing whose checksum is another than its sender's; moto believes the sender. Raises Refused."""
    told = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
    # Of an upload in parts that is completed, it is not the request that the checksum is about.
    if told and environ["REQUEST_METHOD"] == "PUT" and told != base64.b64encode(hashlib.sha256(body).digest()).decode():
        raise Refused("BadDigest", "The SHA256 you specified did not match the calculated checksum.")


def _shift(environ: Environ, service: str) -> None:
    """Take the service's name off the path, as if its host had been asked."""
    for name in ("PATH_INFO", "RAW_URI", "REQUEST_URI"):
        if name in environ:
            environ[name] = environ[name].removeprefix(f"/{service}") or "/"


def _cut(environ: Environ) -> None:
    """The connection breaks before the answer is sent."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)
