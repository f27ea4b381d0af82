"""An operation as a command for a terminal, with its own examples in it, ready to be copied."""

from __future__ import annotations

import json
import shlex
from typing import Any
from urllib.parse import urlencode

from api.openapi.reference import resolved

_FILES = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}
# They are left to the shell, which knows the address and the key.
_ADDRESS, _KEY = '"$DCF_URL', '-H "Authorization: Bearer $DCF_KEY"'


def curl(document: dict[str, Any], method: str, path: str, said: dict[str, Any]) -> str:
    """One argument a line; DCF_URL is where the service is, DCF_KEY an API key."""
    parameters = [resolved(document, parameter) for parameter in said["parameters"]]
    needed = {
        where: {
            parameter["name"]: _example(document, parameter)
            for parameter in parameters
            if parameter["in"] == where and parameter["required"]
        }
        for where in ("path", "query", "header")
    }
    for name, value in needed["path"].items():
        path = path.replace("{" + name + "}", value)
    query = "?" + urlencode(needed["query"]) if needed["query"] else ""
    words = [f'curl -X {method} {_ADDRESS}{path}{query}"']
    if said.get("security") != []:
        words.append(_KEY)
    if any(parameter["name"] == "Idempotency-Key" for parameter in parameters):
        words.append('-H "Idempotency-Key: $(uuidgen)"')
    words += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in needed["header"].items()]
    return " \\\n  ".join([*words, *_body(path, said)])


def _body(path: str, said: dict[str, Any]) -> list[str]:
    for media_type, media in said.get("requestBody", {}).get("content", {}).items():
        example = media["examples"]["example"]["value"]
        match media_type:
            case "application/json":
                return [f"--json {shlex.quote(json.dumps(example, ensure_ascii=False))}"]
            case "multipart/form-data":
                name = _FILES[path.rpartition("/")[2]]
                others = [
                    f"-F {shlex.quote(f'{field}={value}')}" for field, value in example.items() if field != "file"
                ]
                return [*others, f"-F file=@{name}"]
            case _:
                return [f"-H 'Content-Type: {media_type}'", "--data-binary @main.dart"]
    return []


def _example(document: dict[str, Any], parameter: dict[str, Any]) -> str:
    for example in parameter.get("examples", {}).values():
        return str(example["value"])
    return str(resolved(document, parameter["schema"])["enum"][0])
