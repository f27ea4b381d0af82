"""Texts without the values of secrets that are known, as they are and as programs write them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from html import escape
from urllib.parse import quote, quote_plus

# What is shorter stands in too many words that are no secret; of what is encoded more of those are alike.
HIDDEN_CHARACTERS_MIN = 4
ENCODED_CHARACTERS_MIN = 8
# So many characters of a value are hidden where a text was cut inside it.
CUT_CHARACTERS_MIN = 4
HIDDEN_AS = "********"
# What stands where a text was cut.
_CUT = ("…", "...")
# What Dart's Uri.encodeComponent and Uri.encodeFull leave as it is, beside letters, digits and -_.~.
_KEPT_BY_DART = ("!*'()", "!#$&'()*+,/:;=?@")
_QUOTES_OF_DART = str.maketrans({'"': "&quot;", "'": "&#39;", "/": "&#47;"})
# Whose secrets are worked out once; each is some texts of the secret's length.
_KNOWN_MAX = 32


def hide(text: str, secrets: Mapping[str, str]) -> str:
    """The text without the secrets' values, each line of those that have several too; the longest are hidden first.

    So are a value's forms in addresses, JSON, HTML, hexadecimal and base64 (with whatever stands before it, as in `user:password`).
    """
    for form in _forms(secrets):
        text = text.replace(form, HIDDEN_AS)
    return text


def hide_in_excerpt(text: str, secrets: Mapping[str, str]) -> str:
    """As `hide`, and where lines begin or end with a part of a value too: one of them may be where the text was cut."""
    forms = _forms(secrets)
    if not forms:
        return text
    return "\n".join(_with_edges_hidden(line, forms) for line in hide(text, secrets).split("\n"))


def _with_edges_hidden(line: str, forms: tuple[str, ...]) -> str:
    end = next((cut for cut in _CUT if line.endswith(cut)), "")
    line = line.removesuffix(end)
    before = max((_end_of(form, line) for form in forms), default=0)
    if before:
        line = HIDDEN_AS + line[before:]
    behind = max((_beginning_of(form, line) for form in forms), default=0)
    if behind:
        line = line[:-behind] + HIDDEN_AS
    return line + end


def _end_of(form: str, line: str) -> int:
    """How many characters the line begins with that are the end of the form."""
    lengths = range(min(len(form) - 1, len(line)), CUT_CHARACTERS_MIN - 1, -1)
    return next((length for length in lengths if line.startswith(form[-length:])), 0)


def _beginning_of(form: str, line: str) -> int:
    """How many characters the line ends with that are the beginning of the form."""
    lengths = range(min(len(form) - 1, len(line)), CUT_CHARACTERS_MIN - 1, -1)
    return next((length for length in lengths if line.endswith(form[:length])), 0)


def ends_within(text: str, secrets: Mapping[str, str]) -> bool:
    """Whether the text may end inside a value: what follows would have to be seen before it is hidden."""
    return any(
        text.endswith(form[:length]) for form in _forms(secrets) for length in range(1, min(len(form), len(text) + 1))
    )


def _forms(secrets: Mapping[str, str]) -> tuple[str, ...]:
    return _forms_of(tuple(sorted(set(secrets.values()))))


@lru_cache(maxsize=_KNOWN_MAX)
def _forms_of(values: tuple[str, ...]) -> tuple[str, ...]:
    plain = {part for value in values for part in (value, *value.splitlines()) if len(part) >= HIDDEN_CHARACTERS_MIN}
    encoded = {form for part in plain for form in _encoded(part) if len(form) >= ENCODED_CHARACTERS_MIN}
    return tuple(sorted(plain | encoded, key=len, reverse=True))


def _encoded(value: str) -> Iterator[str]:
    content = value.encode("utf-8", "surrogatepass")
    addresses = (quote(content, safe=""), quote(content), quote_plus(content))
    for in_address in (*addresses, *(quote(content, safe=kept) for kept in _KEPT_BY_DART)):
        yield from (in_address, _with_small_digits(in_address))
    for in_json in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        yield from (in_json[1:-1], in_json[1:-1].replace("/", "\\/"))
    in_html = escape(value, quote=False)
    # As Python writes the quotes, and as Dart's HtmlEscape does.
    yield from (in_html, escape(value), in_html.translate(_QUOTES_OF_DART), content.hex(), content.hex().upper())
    for before in range(3):
        inside = _inside_base64(content, before)
        yield from (inside, inside.replace("+", "-").replace("/", "_"))


def _with_small_digits(in_address: str) -> str:
    first, *rest = in_address.split("%")
    return "%".join((first, *(part[:2].lower() + part[2:] for part in rest)))


def _inside_base64(content: bytes, before: int) -> str:
    """The digits that are the value's alone, when so many bytes (of each three) stand before it, and whatever stands behind."""
    digits = base64.b64encode(bytes(before) + content).decode()
    return digits[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]
