"""The functions' own origin, over functions in memory."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.first_start import TENANT_ID
from api.functions_origin import Address, FunctionsOrigin
from domain.release import Access
from providers.local.records import Route
from providers.provider import ProviderUnreachable
from tests.api.steps import is_problem
from tests.api.world import World


class Machine:
    """Functions in memory, which note what reached them."""

    def __init__(self, access: Access) -> None:
        self.reached: list[tuple[Address, str, bytes, set[bytes]]] = []
        self.is_up = True
        self._access = access

    async def route(self, address: Address) -> Route | None:
        if not self.is_up:
            raise ProviderUnreachable("The agent does not answer.")
        if address != ("default", "shop", "hello"):
            return None
        return Route(
            function_id=UUID(int=1),
            tenant_id=TENANT_ID,
            project_id=UUID(int=2),
            address=address,
            access=self._access,
            number=1,
            deployment_id=UUID(int=3),
            request_seconds_max=60,
        )

    async def forward(
        self,
        scope: Any,
        receive: Any,
        send: Any,
        *,
        address: Address,
        cleared: Access,
        path: bytes,
        drop: Collection[bytes] = (),
    ) -> None:
        kept = {name for name, _ in scope["headers"]} - set(drop)
        self.reached.append((address, cleared, path, kept))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def client_of(world: World, machine: Machine, key: str = "") -> httpx.AsyncClient:
    origin = FunctionsOrigin(machine, world.services.authenticator)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=origin), base_url="http://functions.test", headers=headers
    )


class TestPublicFunction:
    async def test_is_open_and_gets_the_rest_of_the_path_as_it_was_sent(self, world: World) -> None:
        machine = Machine("public")

        async with client_of(world, machine) as client:
            answers = [await client.get(f"/default/shop/hello{path}") for path in ("", "/", "/a%2Fb/c?d=e")]

        assert [answer.text for answer in answers] == ["hello"] * 3
        assert [path for _, _, path, _ in machine.reached] == [b"", b"", b"a%2Fb/c"]

    async def test_never_sees_a_key_of_ours_and_keeps_its_own_credentials(self, world: World) -> None:
        machine = Machine("public")

        async with client_of(world, machine, world.owner_key) as client:
            await client.get("/default/shop/hello/")
            await client.get("/default/shop/hello/", headers={"Authorization": "Bearer of-its-own"})

        assert [b"authorization" in kept for _, _, _, kept in machine.reached] == [False, True]

    @pytest.mark.parametrize("scheme", ["bearer   {}", "Bearer\t{}", "Token {}", "{}"])
    async def test_never_sees_it_however_it_is_spelled(self, world: World, scheme: str) -> None:
        machine = Machine("public")
        given = [("Authorization", "Basic b3duOg=="), ("Authorization", scheme.format(world.owner_key))]

        async with client_of(world, machine) as client:
            await client.get("/default/shop/hello/", headers=given)

        assert [b"authorization" in kept for _, _, _, kept in machine.reached] == [False]


class TestPrivateFunction:
    async def test_asks_for_a_key_of_its_tenant(self, world: World) -> None:
        machine = Machine("private")
        async with client_of(world, machine) as client:
            missing = await client.get("/default/shop/hello/")
        async with client_of(world, machine, await world.stranger_key()) as client:
            strange = await client.get("/default/shop/hello/")
        async with client_of(world, machine, await world.key(TENANT_ID, "viewer", "projects:read")) as client:
            narrow = await client.get("/default/shop/hello/")

        assert is_problem(missing, 401, "credential_missing")
        assert is_problem(strange, 401, "credential_unknown")
        assert is_problem(narrow, 403, "permission_missing")
        assert machine.reached == []

    async def test_two_keys_are_refused_whichever_is_good(self, world: World) -> None:
        given = [("Authorization", f"Bearer {world.owner_key}"), ("Authorization", "Bearer dcf_x")]
        machine = Machine("private")

        async with client_of(world, machine) as client:
            answer = await client.get("/default/shop/hello/", headers=given)

        assert is_problem(answer, 400, "header_repeated")
        assert machine.reached == []

    async def test_opens_to_it_and_never_sees_it(self, world: World) -> None:
        machine = Machine("private")

        async with client_of(world, machine, await world.key(TENANT_ID, "viewer")) as client:
            answer = await client.post("/default/shop/hello/orders", content=b"one")

        assert answer.status_code == 200
        ((_, cleared, path, kept),) = machine.reached
        assert (cleared, path, b"authorization" in kept) == ("private", b"orders", False)


class TestNoFunction:
    @pytest.mark.parametrize(
        "path", ["/", "/default", "/default/shop", "/default/shop/", "/default/shop/other/", "//a/b"]
    )
    async def test_is_404(self, world: World, path: str) -> None:
        async with client_of(world, Machine("public")) as client:
            assert is_problem(await client.get(path), 404, "function_not_here")

    async def test_an_agent_that_is_down_is_503(self, world: World) -> None:
        machine = Machine("public")
        machine.is_up = False

        async with client_of(world, machine) as client:
            answer = await client.get("/default/shop/hello/")

        assert is_problem(answer, 503, "function_unavailable")
        assert answer.headers["retry-after"]
