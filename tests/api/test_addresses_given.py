"""Every address that a tenant could give: where one fits at all, and that nothing is ever fetched from it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from api.targets import AzureTargetRequest
from tests.api.contract import operations, resolved
from tests.api.seeded import Seeded, roomy_world, seeded

ADDRESS = "http://127.0.0.1:8000/latest/meta-data"

# Where an address passes for what is asked for, and what it is then: text that is kept, compared or looked up here. Where
# the clouds' own addresses are made of what a tenant gives (a region, a registry, an account), no address fits.
FITS = {
    "artifactFiles.code_file": "the id or path of an upload",
    "artifactFiles.docker_file": "the id or path of an upload",
    "artifactFiles.yaml_file": "the id or path of an upload",
    "description": "text",
    "entitlements[]": "an operator's word",
    "environment.*": "the function's own variable",
    "file": "a file's bytes",
    "invitation": "the text of an invitation",
    "name": "text",
    "plan": "the name of a plan",
    "reason": "text",
    "runtime": "a version",
    "trigger.settings.source": "the name of a queue or topic",
    "trigger.settings.timeZone": "the name of a time zone",
    "url": "a webhook: called by the runner, at public addresses only (process/outbound.py)",
    "value": "a secret's value, for the function alone",
    "version": "a version",
}


def _leaves(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every text in a schema, by where it stands."""
    schema = resolved(schema)
    for key in ("oneOf", "anyOf", "allOf"):
        for one in schema.get(key, ()):
            yield from _leaves(one, path)
    for name, one in schema.get("properties", {}).items():
        yield from _leaves(one, f"{path}.{name}" if path else name)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _leaves(schema["additionalProperties"], f"{path}.*")
    if "items" in schema:
        yield from _leaves(schema["items"], f"{path}[]")
    kinds = schema.get("type", [])
    if "string" in ([kinds] if isinstance(kinds, str) else kinds):
        yield path, schema


def _fits(schema: dict[str, Any]) -> bool:
    if {"enum", "const"} & schema.keys() or schema.get("format") in ("uuid", "date-time"):
        return False
    pattern = schema.get("pattern")
    return (pattern is None or bool(re.search(pattern, ADDRESS))) and schema.get("maxLength", 9999) >= len(ADDRESS)


def _with_address(value: Any, address: str) -> Any:
    """The example with the address for every text in it."""
    match value:
        case str():
            return address
        case dict():
            return {name: _with_address(item, address) for name, item in value.items()}
        case list():
            return [_with_address(item, address) for item in value]
        case _:
            return value


def _one_at_a_time(value: Any, address: str) -> Iterator[Any]:
    """The example with the address for one of its texts, each in turn."""
    match value:
        case str():
            yield address
        case dict():
            for name, item in value.items():
                for changed in _one_at_a_time(item, address):
                    yield {**value, name: changed}
        case _:
            pass


@asynccontextmanager
async def _canary() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address of this machine, and what was asked of it."""
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1024))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/latest/meta-data", asked


class TestAnAddress:
    def test_fits_only_where_it_is_no_more_than_text(self) -> None:
        found = {
            path
            for _, _, said in operations()
            for media in said.get("requestBody", {}).get("content", {}).values()
            for path, schema in _leaves(media["schema"])
            if path and _fits(schema)
        }

        assert found == set(FITS), "say what it is there, and that nobody fetches it"

    @pytest.mark.parametrize(
        "given",
        ["acme.evil.example/", "acme@evil", "acme:80", "acme/../x", "acme#", "acme?x", "acme\n", "127.0.0.1", "ａcme"],
    )
    def test_is_no_part_of_a_name_that_becomes_part_of_a_clouds_address(self, given: str) -> None:
        """The names of which `https://{name}.azurecr.io` and its like are made are single labels, to the last character."""
        schemas = [
            schema
            for _, _, said in operations()
            for media in said.get("requestBody", {}).get("content", {}).values()
            for path, schema in _leaves(media["schema"])
            if path.rpartition(".")[2] in ("region", "registry", "account", "appName", "serviceName", "gcpProjectId")
        ]

        assert len(schemas) > 8
        for schema in schemas:
            assert not re.fullmatch(schema["pattern"].removesuffix("$"), given), schema
        assert AzureTargetRequest.__struct_fields__[3] == "registry"

    async def test_is_never_asked_for_anything(self, tmp_path: Path) -> None:
        """Every request with the address for each of its texts, for all of them at once, and in its headers."""
        tried = 0
        async with _canary() as (address, asked), roomy_world(tmp_path) as world:
            one = await seeded(world)
            for method, path, said in operations():
                request = one.request(method, path, said)
                example = request.get("json")
                bodies = [*_one_at_a_time(example, address), _with_address(example, address)] if example else [None]
                for body in bodies:
                    tried += await _sent(one, said, {**request, **({} if body is None else {"json": body})}, address)

        assert asked == []
        assert tried > 150


async def _sent(one: Seeded, said: dict[str, Any], request: dict[str, Any], address: str) -> int:
    if said["operationId"] in ("eraseMe", "erasePerson", "revokeKey", "closeTenant"):
        return 0
    naming = {
        "Host": address.split("/")[2],
        "X-Forwarded-Host": address.split("/")[2],
        "Forwarded": f"host={address}",
        "Referer": address,
        "Origin": address,
    }
    async with one.client(said) as client:
        answer = await client.request(**{**request, "headers": {**request["headers"], **naming}})
    assert answer.status_code < 500 or answer.status_code == 503, (said["operationId"], answer.text)
    return 1
