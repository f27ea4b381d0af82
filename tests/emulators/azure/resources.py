"""What a customer makes in the group, one thing at a time: by Microsoft's clients, or by a template."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.emulators.azure.answers import Problem
from tests.emulators.azure.customer import LOCATION, Customer
from tests.emulators.azure.roles import NAMES
from tests.emulators.azure.routes import Answer, Call, Methods, check_answer, check_body, match

_REGISTRY, _ENVIRONMENT = "Microsoft.ContainerRegistry/registries", "Microsoft.App/managedEnvironments"


class Resources:
    """Those of one customer."""

    def __init__(self, customer: Customer) -> None:
        self._customer = customer
        self.methods: Methods = {
            "resources.get": lambda call: Answer(customer.found(call.path)),
            **dict.fromkeys(("identities.put", "accounts.put", "registries.put", "environments.put"), self._make),
            "trusts.put": self._trust,
            "services.put": self._serve,
            "containers.put": self._contain,
            "assignments.put": self._assign,
        }

    def put(self, path: str, version: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make it as the owner does, held against what Microsoft's models take. Raises Problem."""
        route, named = match("PUT", path, {"api-version": version})
        check_body(route, body)
        call = Call(route=route, method="PUT", path=path, named=named, query={}, body=body, principal="")
        answer = self.methods[route.id](call)
        assert isinstance(answer, Answer)
        check_answer(route, answer)
        made: dict[str, Any] = answer.body
        return made

    def _make(self, call: Call) -> Answer:
        kind, name = call.path.partition("/providers/")[2].rsplit("/", 1)
        properties = dict(call.body.get("properties", {}))
        if kind == _REGISTRY:
            properties["loginServer"] = f"{name.lower()}.azurecr.io"
        if kind == _ENVIRONMENT:
            properties["defaultDomain"] = f"happysea-1a2b3c4d.{LOCATION}.azurecontainerapps.io"
        rest = {key: value for key, value in call.body.items() if key != "properties"}
        return Answer(self._customer.make(kind, name, properties, **rest))

    def _trust(self, call: Call) -> Answer:
        identity, _, rest = call.path.rpartition("/federatedIdentityCredentials/")
        self._customer.found(identity)
        known, wanted = self._customer.identities[identity.lower()], call.body.get("properties", {})
        lacking = [name for name in ("issuer", "subject", "audiences") if not wanted.get(name)]
        if lacking or len(wanted["audiences"]) != 1:
            raise Problem(400, "BadRequest", f"A federated credential has one issuer, subject and audience: {lacking}.")
        known.trusts[rest] = (wanted["issuer"], wanted["subject"])
        known.audiences[rest] = wanted["audiences"]
        return _made(call, rest)

    def _serve(self, call: Call) -> Answer:
        self._customer.found(call.path.partition("/blobServices/")[0])
        return Answer(_made(call, "default").body)

    def _contain(self, call: Call) -> Answer:
        self._customer.found(call.path.partition("/blobServices/")[0])
        self._customer.containers.add(call.named["container_name"])
        return _made(call, call.named["container_name"])

    def _assign(self, call: Call) -> Answer:
        scope, name = f"/{call.named['scope'].strip('/')}", call.named["role_assignment_name"]
        if "/providers/" in scope:
            self._customer.found(scope)
        try:
            UUID(name)
        except ValueError:
            raise Problem(400, "InvalidRoleAssignmentId", f"The role assignment ID '{name}' is not valid.") from None
        given = call.body["properties"]
        role = given["roleDefinitionId"].rpartition("/")[2]
        if role not in NAMES:
            raise Problem(400, "RoleDefinitionDoesNotExist", f"There is no role {role}.")
        self._customer.grant(NAMES[role], scope, to=given["principalId"])
        return _made(call, name, scope=scope)


def _made(call: Call, name: str, **rest: str) -> Answer:
    kinds = call.path.rpartition("/providers/")[2].split("/")
    kind = "/".join([kinds[0], *kinds[1::2]])
    properties = {**call.body.get("properties", {}), **rest}
    return Answer({"id": call.path, "name": name, "type": kind, "properties": properties}, 201)
