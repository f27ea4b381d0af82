"""The description as a page for people: HTML made of the OpenAPI document, with nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from api.openapi.curl import curl
from api.openapi.reference import resolved

Part = dict[str, Any]

_STYLE = Path(__file__).with_name("page.css")
# What more than this share of the operations refuse is said once, for all of them.
_SHARED_FROM = 0.5
_REFUSED_FROM = "400"


class Page(msgspec.Struct, frozen=True):
    """The page, and the policy that allows it its own style and nothing else."""

    html: bytes
    policy: bytes


def page(document: Part) -> Page:
    """Every operation with what it takes, answers and refuses; `#operationId` is the place of each."""
    style = _STYLE.read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html="".join(_Writer(document).whole(style)).encode(), policy=policy.encode())


class _Writer:
    def __init__(self, document: Part) -> None:
        self._document = document
        self._operations: list[tuple[str, str, Part]] = [
            (method.upper(), path, said)
            for path, methods in document["paths"].items()
            for method, said in methods.items()
        ]
        counted = Counter(code for _, _, said in self._operations for _, code in self._refused(said))
        self._shared = {code for code, times in counted.items() if times > _SHARED_FROM * len(self._operations)}

    def whole(self, style: str) -> Iterator[str]:
        info = self._document["info"]
        yield (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>'
            f'{escape(info["title"])}: the API</title><meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="referrer" content="no-referrer"><style>{style}</style></head><body>'
            '<a class="skip" href="#operations">To the operations</a>'
            f"<header><h1>{escape(info['title'])}: the API</h1>"
            f'<p class="faint">Version {escape(info["version"])} · <a href="/api/v1/openapi.json">as OpenAPI 3.1</a></p></header>'
            '<div class="sides">'
        )
        yield from self._contents()
        yield '<main id="operations">'
        yield from (f"<p>{_text(paragraph)}</p>" for paragraph in info["description"].split("\n\n"))
        for tag in self._document["tags"]:
            yield f'<section aria-labelledby="{_anchor(tag["name"])}"><h2 id="{_anchor(tag["name"])}">{escape(tag["name"])}</h2>'
            yield f"<p>{_text(tag['description'])}</p>"
            for method, path, said in self._of(tag["name"]):
                yield from self._operation(method, path, said)
            yield "</section>"
        yield from self._problems()
        yield from self._schemas()
        yield "</main></div><footer><p class=faint>Made from what the routes themselves declare.</p></footer></body></html>"

    def _of(self, tag: str) -> Iterator[tuple[str, str, Part]]:
        return (found for found in self._operations if tag in found[2]["tags"])

    def _contents(self) -> Iterator[str]:
        yield '<nav aria-label="Operations">'
        for tag in self._document["tags"]:
            yield f"<details><summary>{escape(tag['name'])}</summary><ul>"
            for _, _, said in self._of(tag["name"]):
                yield f'<li><a href="#{said["operationId"]}">{escape(said["summary"])}</a></li>'
            yield "</ul></details>"
        yield '<ul><li><a href="#refusals">Refusals of any request</a></li><li><a href="#schemas">Schemas</a></li></ul></nav>'

    def _operation(self, method: str, path: str, said: Part) -> Iterator[str]:
        name = said["operationId"]
        yield f'<article id="{name}" aria-labelledby="{name}-is"><h3 id="{name}-is">{escape(said["summary"])}</h3>'
        yield f'<p class="address"><span class="method">{method}</span> {escape(path)}</p><p class="faint">'
        yield f'<a href="#{name}">{name}</a> · {_text(said.get("description", "Anybody may ask this."))}</p>'
        yield from self._parameters(said)
        yield from self._body(said)
        command = curl(self._document, method, path, said)
        yield f'<h4>With curl</h4><pre class="curl" tabindex="0">{escape(command)}</pre>'
        yield from self._answers(said)
        yield from self._refusals(said)
        yield "</article>"

    def _parameters(self, said: Part) -> Iterator[str]:
        parameters = [resolved(self._document, parameter) for parameter in said["parameters"]]
        yield from _table(
            "Parameters",
            ("Name", "Where", "What it is", "Example"),
            (
                (
                    f"<code>{escape(parameter['name'])}</code>{' needed' if parameter['required'] else ''}",
                    parameter["in"],
                    f"{self._type(parameter['schema'])}. {_text(parameter['description'])}",
                    _codes(str(example["value"]) for example in parameter.get("examples", {}).values()),
                )
                for parameter in parameters
            ),
        )

    def _body(self, said: Part) -> Iterator[str]:
        for media_type, media in said.get("requestBody", {}).get("content", {}).items():
            needed = "needed" if said["requestBody"]["required"] else "may be left out"
            yield f"<h4>Body</h4><p>{self._type(media['schema'])} as <code>{media_type}</code>, {needed}.</p>"
            for name, example in media["examples"].items():
                yield _shown("Example" if name == "example" else name, example["value"])

    def _answers(self, said: Part) -> Iterator[str]:
        yield "<h4>Answers</h4>"
        for status, answer in self._by_status(said, refused=False):
            yield f"<p><strong>{status}</strong> {_text(answer['description'])}</p>"
            for media_type, media in answer.get("content", {}).items():
                yield f"<p>{self._type(media['schema'])} as <code>{media_type}</code></p>"
                for example in media.get("examples", {}).values():
                    yield _shown(f"Example of {media_type}", example["value"])

    def _refusals(self, said: Part) -> Iterator[str]:
        refused = list(self._refused(said))
        yield from _table(
            "Refusals", _REFUSAL, (self._refusal(status, code) for status, code in refused if code not in self._shared)
        )
        shared = [f'<a href="#refusal-{code}">{code}</a>' for _, code in refused if code in self._shared]
        if shared:
            yield f'<p class="faint">And those of any request: {", ".join(shared)}.</p>'

    def _refusal(self, status: str, code: str) -> tuple[str, ...]:
        problem = self._document["components"]["examples"][code]["value"]
        return status, f"<code>{code}</code>", _text(problem["detail"]), _text(problem["remedy"] or "")

    def _problems(self) -> Iterator[str]:
        status_of = {code: status for _, _, said in self._operations for status, code in self._refused(said)}
        yield '<section aria-labelledby="refusals"><h2 id="refusals">Refusals of any request</h2>'
        rows = ((f'<span id="refusal-{code}">{status_of[code]}</span>', code) for code in sorted(self._shared))
        yield from _table("", _REFUSAL, ((status, *self._refusal("", code)[1:]) for status, code in rows))
        yield "</section>"

    def _schemas(self) -> Iterator[str]:
        yield '<section aria-labelledby="schemas"><h2 id="schemas">Schemas</h2>'
        for name, schema in self._document["components"]["schemas"].items():
            yield f'<article id="schema-{name}"><h3>{name}</h3><p>{_text(schema.get("description", ""))}</p>'
            needed = schema.get("required", ())
            if "properties" not in schema:
                yield f"<p>{self._type(schema)}</p>"
            yield from _table(
                "",
                ("Field", "What it is", "Always there"),
                (
                    (f"<code>{escape(field)}</code>", self._type(of), "yes" if field in needed else "no")
                    for field, of in schema.get("properties", {}).items()
                ),
            )
            yield "</article>"
        yield "</section>"

    def _type(self, schema: Part) -> str:
        """The schema in words, with links to those that have a name."""
        match schema:
            case {"$ref": reference}:
                name = reference.rpartition("/")[2]
                return f'<a href="#schema-{name}">{name}</a>'
            case {"oneOf": members} | {"anyOf": members}:
                return " or ".join(map(self._type, members))
            case {"const": value}:
                return f"<code>{escape(str(value))}</code>"
            case {"enum": values}:
                return f"one of {_codes(map(str, values))}"
            case {"type": "array", "items": items}:
                return f"list of {self._type(items)}"
            case {"type": "object", "additionalProperties": dict(value)}:
                return f"map of names to {self._type(value)}"
            case _:
                return f"{schema.get('format', schema.get('type', 'any JSON value'))}{_limits(schema)}"

    def _refused(self, said: Part) -> Iterator[tuple[str, str]]:
        for status, answer in self._by_status(said, refused=True):
            for media in answer.get("content", {}).values():
                yield from ((status, code) for code in media["examples"])

    def _by_status(self, said: Part, *, refused: bool) -> Iterator[tuple[str, Part]]:
        for status, answer in said["responses"].items():
            if (status >= _REFUSED_FROM) is refused:
                yield status, resolved(self._document, answer)


_REFUSAL = ("Status", "Code", "What it means", "What to do")
_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "from {} characters",
    "maxLength": "up to {} characters",
    "pattern": "fits <code>{}</code>",
    "default": "<code>{}</code> when left out",
}


def _limits(schema: Part) -> str:
    said = [form.format(escape(str(schema[name]))) for name, form in _LIMITS.items() if name in schema]
    return f" ({', '.join(said)})" if said else ""


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Nothing, where there is no row."""
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    if lines:
        yield f"<h4>{title}</h4>" if title else ""
        head = "".join(f'<th scope="col">{column}</th>' for column in columns)
        yield f'<div class="table" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _shown(title: str, value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode()
    return f'<details><summary>{escape(title)}</summary><pre tabindex="0">{escape(text)}</pre></details>'


def _codes(values: Iterable[str]) -> str:
    return ", ".join(f"<code>{escape(value)}</code>" for value in values)


def _text(text: str) -> str:
    """What the description writes as Markdown: strong words and code."""
    strong = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", strong)


def _anchor(tag: str) -> str:
    return "tag-" + tag.lower().replace(" ", "-")
