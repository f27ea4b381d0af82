"""The customer at a terminal: does what a line of `aws` commands says, strictly, as the command line would."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError

from tests.emulators.late import LateShell

_IGNORED = {"--output", "--query"}


class NotACommand(Exception):
    """`aws` does not know it so, or it failed."""


class Shell(LateShell):
    """`client` gives the customer's client of a service."""

    def __init__(self, client: Callable[[str], Any], region: str) -> None:
        super().__init__()
        self._client, self._region = client, region

    def _run(self, words: str) -> None:
        """Do what the text says from its first `aws` on. Raises NotACommand."""
        found = re.search(r"(?:^|\s)aws [a-z]", words)
        if found is None:
            raise NotACommand(f"there is no command in: {words}")
        for line in words[found.start() :].strip().splitlines():
            self._one(shlex.split(line))

    def _one(self, words: list[str]) -> None:
        if len(words) < 3 or words[0] != "aws":
            raise NotACommand(shlex.join(words))
        service = "s3" if words[1] == "s3api" else words[1]
        client, name = self._client(service), words[2].replace("-", "_")
        if words[1] == "s3" or not hasattr(client, name):
            raise NotACommand(shlex.join(words))
        shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[name]).input_shape
        try:
            getattr(client, name)(**self._parameters(shape, words[3:]))
        except ClientError as error:
            raise NotACommand(f"{shlex.join(words)}: {error}") from error

    def _parameters(self, shape: Any, words: list[str]) -> dict[str, Any]:
        by_flag = {f"--{xform_name(name, '-')}": (name, member) for name, member in shape.members.items()}
        given: dict[str, Any] = {}
        for flag, values in _flags(words):
            if flag == "--region":
                if values != [self._region]:
                    raise NotACommand(f"the account is used in {self._region}, not in {values}")
                continue
            if flag in _IGNORED:
                continue
            if flag not in by_flag:
                raise NotACommand(f"unknown option {flag}")
            name, member = by_flag[flag]
            given[name] = _value(member, values)
        return given


def _flags(words: list[str]) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--"):
            found.append((word, []))
        elif found:
            found[-1][1].append(word)
        else:
            raise NotACommand(f"{word} is no option")
    return found


def _value(shape: Any, values: list[str]) -> Any:
    """JSON, or the shorthand `name=value,name=value`."""
    match shape.type_name:
        case "structure" | "map":
            return json.loads(values[0]) if values[0].startswith("{") else _shorthand(values[0])
        case "list" if values[0].startswith("["):
            return json.loads(values[0])
        case "list":
            return [_value(shape.member, [value]) for value in values]
        case "integer" | "long":
            return int(values[0])
        case "boolean":
            return not values or values[0] == "true"
        case _:
            return values[0]


def _shorthand(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (pair.partition("=") for pair in text.split(","))}
