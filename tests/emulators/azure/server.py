"""The door of the emulator: one port, a path for each of Azure's services, requests held against Microsoft's models."""

from __future__ import annotations

import inspect

import msgspec
from aiohttp import web

from tests.emulators.azure.answers import Problem
from tests.emulators.azure.apps import ContainerApps
from tests.emulators.azure.blobs import Blobs
from tests.emulators.azure.customer import GROUP, LOCATION, MANAGEMENT, SUBSCRIPTION, Customer
from tests.emulators.azure.deployments import Deployments
from tests.emulators.azure.images import Images
from tests.emulators.azure.jobs import Jobs
from tests.emulators.azure.operations import Operations
from tests.emulators.azure.permissions import Permissions
from tests.emulators.azure.resources import Resources
from tests.emulators.azure.routes import Answer, Call, Methods, check_answer, check_body, match
from tests.emulators.azure.tasks import Tasks
from tests.emulators.background import Background
from tests.emulators.images import Workshop

_ALWAYS_REGISTERED = {"microsoft.authorization", "microsoft.resources"}
BODY_BYTES_MAX = 64 * 1024 * 1024

_SKIP = "$skiptoken"


class Azure:
    """All emulated services of one customer, served from the loop of the background until that is closed."""

    def __init__(
        self, customer: Customer, workshop: Workshop, background: Background, blobs: Blobs | None = None
    ) -> None:
        self.customer, self.blobs, self.calls = customer, blobs or Blobs(customer), list[str]()
        self.permissions = Permissions(customer)
        self.operations = Operations(lambda: self.root("management"))
        self.images = Images(customer)
        self.tasks = Tasks(customer, self.images, workshop, lambda: self.root("blob"))
        self.apps = ContainerApps(customer, self.images, workshop, self.operations, lambda: self.root("logs"))
        self.jobs = Jobs(
            customer, self.operations, lambda text: text.replace(f"{self.root('apps')}/", f"{self.root('inside')}/")
        )
        self._methods: Methods = {
            "subscriptions.list": self._subscriptions,
            "groups.get": self._group,
            "groups.list": self._groups,
            **self.permissions.methods,
            **Resources(customer).methods,
            **Deployments(customer).methods,
            **self.operations.methods,
            **self.tasks.methods,
            **self.apps.methods,
            **self.jobs.methods,
        }
        self.port = background.serve(self._application())

    @property
    def endpoints(self) -> str:
        return self.root("{service}")

    def root(self, service: str) -> str:
        return f"http://127.0.0.1:{self.port}/{service}"

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self.customer.meet], client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/login/{directory}/oauth2/v2.0/token", self.customer.token)
        app.router.add_route("*", "/management/{path:.*}", self._managed)
        app.router.add_route("*", "/blob/{account}/{place:.*}", self._stored)
        app.router.add_route("*", "/registry/{registry}/{path:.*}", self.images.answer)
        app.router.add_get("/logs/{path:.*}", self.apps.log)
        app.router.add_route("*", "/{door:apps|inside}/{host}{path:.*}", self.apps.forward)
        app.on_cleanup.append(self.apps.close)
        app.on_cleanup.append(lambda _: self.blobs.close())
        return app

    async def _stored(self, request: web.Request) -> web.StreamResponse:
        kept = self.tasks.answer if request.match_info["account"] == self.tasks.account else self.blobs.answer
        return await kept(request)

    async def _managed(self, request: web.Request) -> web.StreamResponse:
        answer = self._page(request, await self._answered(request))
        return web.Response(
            status=answer.status,
            body=b"" if answer.body is None else msgspec.json.encode(answer.body),
            content_type="application/json",
            headers=answer.headers,
        )

    async def _answered(self, request: web.Request) -> Answer:
        path = f"/{request.match_info['path']}"
        principal = self.customer.admit(request, MANAGEMENT)
        route, named = match(request.method, path, _asked(request))
        self._require(route.id, request.method, path, principal)
        body = _decoded(await request.read())
        check_body(route, body)
        call = Call(
            route=route,
            method=request.method,
            path=path,
            named=named,
            query=_asked(request),
            body=body,
            principal=principal,
        )
        answer = self._methods[route.id](call)
        if inspect.isawaitable(answer):
            answer = await answer
        check_answer(route, answer)
        self.calls.append(route.id)
        return answer

    def _page(self, request: web.Request, answer: Answer) -> Answer:
        """The part of a list that is asked for, and where the next one is, if the customer's lists come in pages."""
        size = self.customer.page_items
        if not size or request.method != "GET" or not isinstance(answer.body, dict) or "value" not in answer.body:
            return answer
        first = int(request.query.get(_SKIP, "0"))
        shown = {**answer.body, "value": answer.body["value"][first : first + size]}
        if first + size < len(answer.body["value"]):
            url = request.url.update_query({_SKIP: str(first + size)})
            shown["nextLink"] = str(url)
        return msgspec.structs.replace(answer, body=shown)

    def _require(self, id: str, method: str, path: str, principal: str) -> None:
        """Raise Problem unless the subscription has the resources, and the caller a role that allows the action."""
        if id == "subscriptions.list" or id.startswith("operations."):
            return
        if id.startswith(("rights.", "everywhere.")):
            return  # They look by themselves.
        subscription = path.split("/")[2]
        if subscription.lower() != SUBSCRIPTION:
            raise Problem(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        kind = _kind(path)
        verb = {"GET": "read", "DELETE": "delete", "POST": "action"}.get(method, "write")
        self.customer.require(
            principal, f"{kind}/{verb}", path if "/providers/" in path else "/".join(path.split("/")[:5])
        )
        namespace = kind.partition("/")[0]
        if namespace.lower() not in self.customer.registered | _ALWAYS_REGISTERED:
            raise Problem(
                409,
                "MissingSubscriptionRegistration",
                f"The subscription is not registered to use namespace '{namespace}'. See "
                "https://aka.ms/rps-not-found for how to register subscriptions.",
            )

    def _subscriptions(self, call: Call) -> Answer:
        seen = any(who == call.principal for who, _, _ in self.customer.assignments)
        shown = {"id": f"/subscriptions/{SUBSCRIPTION}", "subscriptionId": SUBSCRIPTION, "state": "Enabled"}
        return Answer({"value": [shown] if seen else []})

    def _group(self, call: Call) -> Answer:
        name = call.named["resource_group_name"]
        if name.lower() not in self.customer.groups:
            raise Problem(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return Answer(_shown_group(name))

    def _groups(self, call: Call) -> Answer:
        return Answer({"value": [_shown_group(GROUP)] if self.customer.groups else []})


def _shown_group(name: str) -> dict[str, object]:
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}"
    return {"id": path, "name": name, "location": LOCATION, "properties": {"provisioningState": "Succeeded"}}


def _asked(request: web.Request) -> dict[str, str]:
    """What is asked for, whichever page of it."""
    return {name: value for name, value in request.query.items() if name != _SKIP}


def _kind(path: str) -> str:
    """`Microsoft.App/containerApps/revisions` of a path; actions stand behind the last name."""
    below = path.rpartition("/providers/")[2] if "/providers/" in path else ""
    if not below:
        return "Microsoft.Resources/subscriptions/resourceGroups"
    namespace, *parts = below.split("/")
    return "/".join([namespace, *parts[::2]])


def _decoded(content: bytes) -> object:
    try:
        return msgspec.json.decode(content) if content else None
    except msgspec.DecodeError as error:
        raise Problem(400, "InvalidRequestContent", f"The request content was invalid: {error}.") from error
