"""Who may ask for what, as a page: every route by every role. `python -m api.openapi.permissions > docs/permissions.md`."""

from __future__ import annotations

import sys

from api.app import routed
from api.operation import operations
from api.principal import ALLOWED, PrincipalRole

_SHOWN: tuple[PrincipalRole, ...] = ("viewer", "developer", "admin", "owner", "none", "operator")
_HEAD = """# Who may do what

Made from the routes and the roles themselves by `python -m api.openapi.permissions`; a test sees that it is so and tries every line.

`none` is somebody who is signed in and acts in no tenant. A key may be narrowed to some of the permissions of its role (`scopes`).
What a role does not allow is answered 403 `permission_missing`; what belongs to another tenant 404, as if it never was. Beyond the
table: nobody gives, changes or takes away a role above their own, no key makes a key that may do more, and members' e-mail addresses
are shown to whoever has `members:write`.

"""


def page() -> str:
    """The page in Markdown: a line for each operation, public ones too."""
    lines = [
        f"| route | permission | {' | '.join(_SHOWN)} |",
        f"|---|---|{'---|' * len(_SHOWN)}",
    ]
    for route, handler, operation in operations(routed()):
        (method,) = handler.http_methods - {"HEAD", "OPTIONS"}
        allowed = [operation.permission == "public" or operation.permission in ALLOWED[role] for role in _SHOWN]
        may = " | ".join("yes" if one else "–" for one in allowed)
        lines.append(f"| {method} {route.path_format} | {operation.permission} | {may} |")
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
