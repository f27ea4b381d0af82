"""Names people give to things, and the form they take in an address."""

from __future__ import annotations

import re

from domain.refusal import FieldError, Invalid

NAME_LENGTH_MAX = 63
NAME_PATTERN = "^[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,61}[A-Za-z0-9])?$"
_NAME = re.compile(NAME_PATTERN.strip("^$"))
_BETWEEN_WORDS = re.compile(r"[ ._-]+")


class NameNotAllowed(Invalid):
    """The name has characters that names cannot have."""

    code = "name_not_allowed"
    remedy = f"Use 1 to {NAME_LENGTH_MAX} letters, digits, spaces, dots, hyphens or underscores, beginning and ending with a letter or digit."


def slug(name: str) -> str:
    """The name as one segment of an address: lower case, words joined by hyphens. Names with one slug are one name."""
    return _BETWEEN_WORDS.sub("-", name.lower())


def check_name(name: str, *, field: str = "name") -> None:
    """Raise NameNotAllowed, naming the field, unless the name can be one."""
    if not _NAME.fullmatch(name):
        raise NameNotAllowed(errors=(FieldError(field=field, message=NameNotAllowed.remedy),))
