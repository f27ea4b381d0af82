"""What is told of a value that does not fit: which field it is, and what would do instead."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from api.body import decoded
from api.patterns import whole
from api.refusals import BodyInvalid


class Cat(msgspec.Struct, tag_field="kind", tag="cat", forbid_unknown_fields=True):
    coat: Literal["short", "long"] | None = None


class Dog(msgspec.Struct, tag_field="kind", tag="dog", forbid_unknown_fields=True):
    names: dict[Annotated[str, msgspec.Meta(max_length=3)], int] = {}


class Zoo(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    all_pets: list[Cat | Dog] = []
    names: dict[str, str] = {}
    code: Annotated[str, msgspec.Meta(pattern=whole("^[a-z]+$"))] = ""
    home: Cat | Dog | None = None


class TestMisfit:
    @pytest.mark.parametrize(
        ("body", "field", "message"),
        [
            ("[]", "body", "Expected `object`, got `array`"),
            ('{"pets": []}', "pets", "Object contains unknown field `pets`"),
            ('{"allPets": [{"kind": "cow"}]}', "allPets[0].kind", "'cow' is none of cat, dog"),
            ('{"allPets": [{"kind": "cat"}, {"coat": "none"}]}', "allPets[1].kind", "missing required field"),
            ('{"allPets": [{"kind": "cat", "coat": "none"}]}', "allPets[0].coat", "'none' is none of long, short"),
            ('{"names": {"a": "1", "b": 2, "c": 3}}', "names.b", "Expected `str`, got `int`"),
            ('{"allPets": [{"kind": "dog", "names": {"long": 1}}]}', "allPets[0].names", "of length <= 3"),
            ('{"allPets": [{"kind": "dog", "names": {"a": ""}}]}', "allPets[0].names[...]", "Expected `int`"),
            ('{"code": "A1"}', "code", "matching regex '^[a-z]+$'"),
        ],
    )
    def test_names_the_field_and_what_would_do(self, body: str, field: str, message: str) -> None:
        with pytest.raises(BodyInvalid) as refused:
            decoded(body.encode(), Zoo)

        [error] = refused.value.errors
        assert error.field == field
        assert message in error.message
        assert message in refused.value.detail


class TestFieldsTaken:
    @pytest.mark.parametrize(
        ("body", "remedy"),
        [
            ('{"pets": []}', "The body takes optionally allPets, names, code, home."),
            ('{"home": {"kind": "cat", "name": "x"}}', "`home` takes kind; optionally coat."),
            ('{"home": {"name": "x"}}', "`home` takes `kind`, one of cat, dog, and what that one takes."),
            ('{"allPets": [{"kind": "cow"}]}', "Send the fields that GET /api/v1/openapi.json shows"),
        ],
    )
    def test_are_named_where_one_does_not_fit(self, body: str, remedy: str) -> None:
        with pytest.raises(BodyInvalid) as refused:
            decoded(body.encode(), Zoo)

        assert refused.value.remedy.startswith(remedy)
        assert "GET /api/v1/openapi.json" in refused.value.remedy
