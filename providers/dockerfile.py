"""What a Dockerfile says of the Dart it builds with."""

from __future__ import annotations

import re

# The build argument under which the clouds' builders are told the runtime that was chosen.
VERSION_ARGUMENT = "DART_VERSION"
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)
_DART = re.compile(r"(?:^|/)dart:([\w.${}-]+)$")


def dart_version(dockerfile: str, chosen: str) -> str:
    """The tag of the `dart` image it begins with, such as `3.11.0` or `stable`; empty when it begins otherwise.

    `FROM dart:${DART_VERSION}` means the runtime that was chosen.
    """
    for image in _FROM.findall(dockerfile):
        if found := _DART.search(image):
            tag = str(found[1])
            return chosen if tag in (f"${{{VERSION_ARGUMENT}}}", f"${VERSION_ARGUMENT}") else tag
    return ""
