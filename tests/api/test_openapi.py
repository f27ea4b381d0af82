"""What the API says of itself is complete. Whether it is true is checked by every test that asks it (contract.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.openapi.document import TAGS
from api.resumable_uploads import PARTIAL
from tests.api.contract import errors_of, operations, resolved, the_document

_OPERATIONS = [pytest.param(method, path, said, id=said["operationId"]) for method, path, said in operations()]
each_operation = pytest.mark.parametrize(("method", "path", "said"), _OPERATIONS)
Said = dict[str, Any]


class TestOperation:
    @each_operation
    def test_says_what_it_is_and_where_it_belongs(self, method: str, path: str, said: Said) -> None:
        assert re.fullmatch(r"[a-z][A-Za-z]+", said["operationId"])
        assert said["summary"]
        assert set(said["tags"]) <= set(TAGS), "describe the new tag in TAGS of api/openapi/document.py"
        assert ("x-permission" in said) != (said.get("security") == [])

    @each_operation
    def test_describes_each_parameter_with_an_example(self, method: str, path: str, said: Said) -> None:
        for parameter in map(resolved, said["parameters"]):
            where = f"the parameter {parameter['name']} of {said['operationId']}"
            assert parameter["description"], (
                f"{where} is not described: add it to PATH_PARAMETERS in api/openapi/parameters.py"
            )
            examples = [example["value"] for example in parameter.get("examples", {}).values()]
            assert examples or "enum" in resolved(parameter["schema"]), (
                f"{where} has no example: give its Parameter one"
            )
            assert [errors_of(parameter["schema"], example) for example in examples] == [[] for _ in examples], where

    @each_operation
    def test_takes_the_headers_that_all_of_its_kind_take(self, method: str, path: str, said: Said) -> None:
        names = {parameter["name"] for parameter in map(resolved, said["parameters"]) if parameter["in"] == "header"}

        assert {"X-Request-Id", "traceparent", "Accept-Encoding"} <= names
        if method == "GET":
            assert "If-None-Match" in names
            assert ("If-Position" in names) == ("x-permission" in said)
        elif "Event-Position" in _headers_of_success(said):
            assert {"Idempotency-Key", "Prefer"} <= names
        else:
            assert said["operationId"] in _RECORDS_NOTHING, "an operation that is no GET `writes`, or is named here"

    @each_operation
    def test_shows_a_body_as_it_is_sent(self, method: str, path: str, said: Said) -> None:
        if "requestBody" not in said:
            return
        ((media_type, media),) = said["requestBody"]["content"].items()

        assert media_type in ("application/json", "multipart/form-data", "application/octet-stream", PARTIAL)
        assert media["examples"], f"{said['operationId']} shows no body: give its Operation an `example`"
        for name, example in media["examples"].items():
            assert errors_of(media["schema"], example["value"]) == [], name

    @each_operation
    def test_shows_every_answer(self, method: str, path: str, said: Said) -> None:
        assert {status[0] for status in said["responses"]} >= {"2", "5", *(["4"] if "x-permission" in said else [])}
        for status, answer in ((status, resolved(answer)) for status, answer in said["responses"].items()):
            where = f"the answer {status} of {said['operationId']}"
            assert answer["description"]
            assert "X-Request-Id" in answer["headers"]
            assert answer.get("content") or status == "304"
            for media in answer.get("content", {}).values():
                assert media.get("examples"), (
                    f"{where} has no example: add one of its type to EXAMPLES in api/openapi/examples.py"
                )
                for name, example in media["examples"].items():
                    assert errors_of(media["schema"], resolved(example)["value"]) == [], f"{where}, {name}"

    @each_operation
    def test_leads_only_where_there_is_something(self, method: str, path: str, said: Said) -> None:
        by_id = {other["operationId"]: other for _, _, other in operations()}
        for answer in map(resolved, said["responses"].values()):
            for link in answer.get("links", {}).values():
                taken = {resolved(parameter)["name"] for parameter in by_id[link["operationId"]]["parameters"]}
                assert set(link.get("parameters", {})) <= taken


# They ask a cloud, or give up what is no part of the log yet.
_RECORDS_NOTHING = {"cancelUpload", "diagnoseGcp", "makeAwsSetup", "makeAzureTemplate", "registerAzure"}


def _headers_of_success(said: Said) -> set[str]:
    return {name for status, answer in said["responses"].items() if status[0] == "2" for name in answer["headers"]}


class TestSchemas:
    def test_have_names_that_programs_can_take(self) -> None:
        for group in ("schemas", "parameters", "headers", "examples", "responses"):
            names = the_document()["components"][group]
            assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9._-]+", name)] == []
        schemas = the_document()["components"]["schemas"]
        assert [name for name in schemas if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", name)] == []

    def test_a_pattern_is_one_that_other_languages_read(self) -> None:
        patterns = {part["pattern"] for part in _parts(the_document()) if isinstance(part.get("pattern"), str)}

        assert patterns
        assert [pattern for pattern in patterns if "(?" in pattern.replace("(?:", "")] == []

    def test_an_enumeration_stands_under_its_name(self) -> None:
        named = {id(schema) for schema in the_document()["components"]["schemas"].values()}
        nameless = [part["enum"] for part in _parts(the_document()) if "enum" in part and id(part) not in named]

        assert nameless == [], "give it a name in ENUMERATIONS of api/openapi/names.py"

    def test_a_union_says_how_its_members_are_told_apart(self) -> None:
        """A generated client merges them, or takes the first, where nothing does."""
        named = {id(schema) for schema in the_document()["components"]["schemas"].values()}
        for part in _parts(the_document()):
            if "oneOf" in part:
                assert id(part) in named, f"give it a name in UNIONS of api/openapi/names.py: {part}"
                mapping = part["discriminator"]["mapping"]
                assert [member["$ref"] for member in part["oneOf"]] == list(mapping.values())
                for tag, reference in mapping.items():
                    tagged = resolved({"$ref": reference})
                    assert tagged["properties"][part["discriminator"]["propertyName"]]["const"] == tag
            elif "anyOf" in part:
                others = [member for member in part["anyOf"] if member != {"type": "null"}]
                assert len(others) == 1 or not any("$ref" in member for member in others), part

    def test_an_answer_says_of_all_its_fields_that_they_are_there(self) -> None:
        """What is left out at times is named, so that a client need not look for what always is."""
        left_out = {
            (name, field)
            for name, schema in the_document()["components"]["schemas"].items()
            if not name.endswith(("Request", "Form", "Again", "Settings", "Trigger"))
            for field in schema.get("properties", {})
            if field not in schema.get("required", ())
        }

        assert {name for name, _ in left_out} <= {"AwsTarget", "AzureTarget", "GcpTarget", "Notice"}


class TestDocument:
    async def test_is_served_to_anybody(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/api/v1/openapi.json", headers={"Authorization": ""})

        assert answer.json() == the_document()
        assert answer.headers["cache-control"].startswith("public")

    def test_names_each_operation_once(self) -> None:
        names = [said["operationId"] for _, _, said in operations()]

        assert len(set(names)) == len(names) > 70

    def test_leaves_no_reference_open(self) -> None:
        for part in _parts(the_document()):
            if isinstance(part.get("$ref"), str):
                assert resolved(part)

    def test_uses_all_it_holds(self) -> None:
        document = the_document()
        used = {part["$ref"] for part in _parts(document) if isinstance(part.get("$ref"), str)}
        held = {
            f"#/components/{group}/{name}"
            for group in ("schemas", "parameters", "headers", "responses")
            for name in document["components"][group]
        }

        assert held - used == set()

    def test_a_code_means_one_thing(self) -> None:
        problems = the_document()["components"]["examples"]

        assert all(example["value"]["code"] == code for code, example in problems.items())
        assert all(example["value"]["detail"] for example in problems.values())

    def test_says_of_every_refusal_what_to_do_next(self) -> None:
        problems = {
            name: example["value"]
            for name, example in the_document()["components"]["examples"].items()
            if "remedy" in example["value"]
        }

        assert len(problems) > 100
        assert [name for name, problem in problems.items() if not problem["remedy"]] == []

    def test_tells_the_form_of_an_upload(self) -> None:
        body = the_document()["paths"]["/api/v1/functions/upload/code"]["post"]["requestBody"]["content"]

        schema = resolved(body["multipart/form-data"]["schema"])
        assert schema["required"] == ["file", "projectId"]
        assert schema["properties"]["file"]["contentMediaType"] == "application/octet-stream"

    def test_what_is_made_leads_to_what_can_be_done_with_it(self) -> None:
        made = the_document()["paths"]["/api/v1/projects/{projectId}/deployments"]["post"]["responses"]["202"]

        assert {"getDeployment", "cancelDeployment", "undeployDeployment", "listDeploymentEvents"} <= set(made["links"])
        assert made["links"]["getDeployment"]["parameters"] == {
            "projectId": "$response.body#/projectId",
            "deploymentId": "$response.body#/deploymentId",
        }


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """Every object of the description, examples left out."""
    match part:
        case dict():
            yield part
            for name, value in part.items():
                if name not in ("examples", "example"):
                    yield from _parts(value)
        case list():
            for value in part:
                yield from _parts(value)
        case _:
            pass
