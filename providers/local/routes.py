"""Which deployment answers at which address."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec

from providers.local.records import Route
from providers.local.store import Store
from providers.provider import Order, ProviderRefused

Address = tuple[str, str, str]


class RouteTable:
    """One route a function, durable before it is used. A lower number never takes an address from a higher one."""

    def __init__(self, store: Store, routes: Iterable[Route]) -> None:
        self._store = store
        self._by_function = {route.function_id: route for route in routes}
        self._by_address = {route.address: route for route in self._by_function.values() if route.deployment_id}

    def at(self, address: Address) -> Route | None:
        """The route that answers there now."""
        return self._by_address.get(address)

    def serves(self, order: Order) -> bool:
        """Whether its function's requests reach this deployment."""
        route = self._by_function.get(order.release.function_id)
        return route is not None and route.deployment_id == order.deployment_id

    def is_past(self, order: Order) -> bool:
        """Whether a later deployment of its function has served."""
        route = self._by_function.get(order.release.function_id)
        return route is not None and route.number > order.number

    def point_to(self, order: Order) -> UUID | None:
        """Lead the function's address to this deployment; the deployment that served before.

        Raises ProviderRefused when a later deployment served already, or another function has the address.
        """
        release = order.release
        former = self._by_function.get(release.function_id)
        if self.is_past(order):
            raise ProviderRefused("overtaken", "A later deployment of this function already served.", "Deploy again.")
        holder = self._by_address.get(release.address)
        if holder and holder.function_id != release.function_id:
            raise ProviderRefused(
                "address_taken",
                f"Another function answers at /{'/'.join(release.address)}/.",
                "Deploy or undeploy that function first.",
            )
        self._put(_route(order), former)
        return former.deployment_id if former and former.deployment_id != order.deployment_id else None

    def remove(self, order: Order) -> None:
        """Answer no more, if this deployment is the one that does. Its number is remembered."""
        route = self._by_function.get(order.release.function_id)
        if route and route.deployment_id == order.deployment_id:
            self._put(msgspec.structs.replace(route, deployment_id=None), route)

    def _put(self, route: Route, former: Route | None) -> None:
        self._store.save_route(route)
        if former:
            self._by_address.pop(former.address, None)
        if route.deployment_id:
            self._by_address[route.address] = route
        self._by_function[route.function_id] = route


def _route(order: Order) -> Route:
    release = order.release
    return Route(
        function_id=release.function_id,
        tenant_id=order.tenant_id,
        project_id=order.project_id,
        address=release.address,
        access=release.access,
        number=order.number,
        deployment_id=order.deployment_id,
        request_seconds_max=release.request_seconds_max,
    )
