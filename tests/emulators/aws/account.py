"""One account of Amazon's: who calls, as which role, and what its policies allow."""

from __future__ import annotations

import fnmatch
import json
import threading
import time
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from moto.iam.models import iam_backends

from tests.emulators.aws.answers import Denied, Refused
from tests.emulators.aws.signatures import Sent, check, signature_of, unsigned

CUSTOMER_KEY, CUSTOMER_SECRET = "AKIACUSTOMER00000000", "customer"
REGION = "eu-west-1"

Policy = dict[str, Any]


class Session:
    """A role that somebody became for a while."""

    def __init__(self, role_arn: str, name: str, seconds: int) -> None:
        self.role_arn, self.name = role_arn, name
        self.access_key = f"ASIA{uuid4().hex[:16].upper()}"
        self.secret, self.token = uuid4().hex, uuid4().hex + uuid4().hex
        self.expires_at = time.time() + seconds

    @property
    def role_name(self) -> str:
        return self.role_arn.rpartition("/")[2]


class Account:
    """Its number tells it apart from every other emulated one in this process: moto keeps them all together."""

    def __init__(self) -> None:
        self.id = str(uuid4().int)[:12]
        self.lock = threading.RLock()
        self._sessions: dict[str, Session] = {}
        # What the organization denies to all roles of the account, as statements of a service control policy.
        self.forbidden: list[Policy] = []

    def arn(self, service: str, resource: str, *, region: str = REGION) -> str:
        return f"arn:aws:{service}:{region}:{self.id}:{resource}"

    @property
    def iam(self) -> Any:
        return iam_backends[self.id]["aws"]

    def role(self, arn: str) -> Any:
        """The role, or None."""
        found = [role for role in self.iam.roles.values() if role.arn == arn]
        return found[0] if found else None

    def become(self, role_arn: str, name: str, seconds: int) -> Session:
        session = Session(role_arn, name, seconds)
        with self.lock:
            self._sessions[session.access_key] = session
        return session

    def end_sessions(self) -> None:
        """As if all of them had expired."""
        for session in self._sessions.values():
            session.expires_at = 0.0

    def change_secrets(self) -> None:
        """As if every session had been given another secret than it has."""
        for session in self._sessions.values():
            session.secret = uuid4().hex

    def caller(self, sent: Sent, service: str, protocol: str) -> Session | None:
        """Who signed the request: a session, or None for the customer. Raises Refused."""
        signature = signature_of(sent, protocol)
        if signature is None:
            raise unsigned()
        if signature.access_key == CUSTOMER_KEY and not signature.token:
            check(sent, signature, CUSTOMER_SECRET, service, REGION, protocol)
            return None
        session = self._sessions.get(signature.access_key)
        if session is None or signature.token != session.token:
            raise Refused(_BAD_KEY.get(protocol, "InvalidClientTokenId"), "The security token is invalid.", 403)
        check(sent, signature, session.secret, service, REGION, protocol)
        if session.expires_at <= time.time():
            code = "ExpiredToken" if protocol in ("query", "rest-xml") else "ExpiredTokenException"
            raise Refused(code, "The security token included in the request is expired", 403)
        return session

    def user_arn(self, session: Session) -> str:
        return f"arn:aws:sts::{self.id}:assumed-role/{session.role_name}/{session.name}"

    def require(self, session: Session | None, action: str, resource: str, **context: str) -> None:
        """Raises Denied unless the caller is the customer, or the role's policies allow it."""
        if session is None:
            return
        decision = self.decision(session.role_arn, action, resource, **context)
        if decision != "allowed" or self.forbids(action, resource, context):
            raise Denied(self.user_arn(session), action, resource, outright=decision != "implicitDeny")

    def allows(self, role_arn: str, action: str, resource: str, **context: str) -> bool:
        """Whether the role's own policies do, and the organization."""
        may = self.decision(role_arn, action, resource, **context) == "allowed"
        return may and not self.forbids(action, resource, context)

    def decision(self, role_arn: str, action: str, resource: str, **context: str) -> str:
        """What the role's own policies say, in the words of IAM's simulation."""
        role = self.role(role_arn)
        statements = [] if role is None else [one for text in role.policies.values() for one in _statements(text)]
        fitting = [one for one in statements if _fits(one, action, resource, context)]
        if any(one["Effect"] == "Deny" for one in fitting):
            return "explicitDeny"
        return "allowed" if fitting else "implicitDeny"

    def forbids(self, action: str, resource: str, context: dict[str, str], *, conditions: bool = True) -> bool:
        """Whether the organization does. Without `conditions` what it says under any is left out."""
        heeded = [one for one in self.forbidden if conditions or not one.get("Condition")]
        return any(_fits(one, action, resource, context) for one in heeded)

    def trusts_service(self, role_arn: str, service: str) -> bool:
        role = self.role(role_arn)
        if role is None:
            return False
        trusted = [
            _listed(one["Principal"].get("Service", [])) for one in _statements(role.assume_role_policy_document)
        ]
        return any(service in names for names in trusted)


_BAD_KEY = {
    "json": "UnrecognizedClientException",
    "rest-json": "UnrecognizedClientException",
    "rest-xml": "InvalidAccessKeyId",
}


def trust_statements(role: Any) -> list[Policy]:
    return _statements(role.assume_role_policy_document)


def conditions_hold(statement: Policy, context: dict[str, str]) -> bool:
    """Of the operators that we use; any other is a mistake of the test's."""
    for operator, wanted in statement.get("Condition", {}).items():
        for key, values in wanted.items():
            seen = context.get(key)
            match operator:
                case "StringEquals":
                    fits = seen in _listed(values)
                case "StringLike":
                    fits = seen is not None and any(fnmatch.fnmatchcase(seen, one) for one in _listed(values))
                case _:
                    raise AssertionError(f"the condition {operator} is not emulated")
            if not fits:
                return False
    return True


def _fits(statement: Policy, action: str, resource: str, context: dict[str, str]) -> bool:
    acts = any(fnmatch.fnmatchcase(action.lower(), one.lower()) for one in _listed(statement["Action"]))
    places = any(fnmatch.fnmatchcase(resource, one) for one in _listed(statement["Resource"]))
    return acts and places and conditions_hold(statement, context)


def _statements(text: Any) -> list[Policy]:
    document = json.loads(unquote(text) if text.startswith("%7B") else text) if isinstance(text, str) else text
    return [dict(one) for one in _as_list(document["Statement"])]


def _listed(value: Any) -> list[str]:
    return [str(one) for one in _as_list(value)]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
