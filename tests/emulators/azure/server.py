"""Entra, Resource Manager's subscriptions and a storage account, on one port of this machine."""

from __future__ import annotations

from aiohttp import web

from tests.emulators.azure.blobs import Blobs
from tests.emulators.azure.customer import SUBSCRIPTION, Customer


def azure(customer: Customer, blobs: Blobs) -> web.Application:
    """The services by their names, as the endpoints given to the provider lead to them: `http://…/{service}`."""

    async def subscriptions(request: web.Request) -> web.Response:
        customer.admit(request, "https://management.azure.com")
        shown = [{"subscriptionId": SUBSCRIPTION}] if "Reader" in customer.roles else []
        return web.json_response({"value": shown})

    app = web.Application(middlewares=[customer.meet], client_max_size=64 * 1024 * 1024)
    app.router.add_post("/login/{directory}/oauth2/v2.0/token", customer.token)
    app.router.add_get("/management/subscriptions", subscriptions)
    app.router.add_route("*", "/blob/{account}/{place:.*}", blobs.answer)
    return app
