"""How Amazon says no, in the manner of each protocol."""

from __future__ import annotations

import json
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response


class Refused(Exception):
    """An error as Amazon names it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Denied(Refused):
    """What the caller's policies do not allow, or some policy forbids."""

    def __init__(self, who: str, action: str, resource: str, *, outright: bool = False) -> None:
        why = f"because no identity-based policy allows the {action} action"
        if outright:
            why = "with an explicit deny in a policy"
        super().__init__(
            "AccessDenied", f"User: {who} is not authorized to perform: {action} on resource: {resource} {why}", 403
        )


def as_response(refused: Refused, protocol: str) -> Response:
    """The refusal in one of the protocols that botocore knows."""
    code = refused.code
    if isinstance(refused, Denied) and protocol in ("json", "rest-json"):
        code = "AccessDeniedException"
    match protocol:
        case "json":
            body = json.dumps({"__type": code, "message": refused.message})
            return Response(body, 400 if refused.status == 403 else refused.status, {"x-amzn-errortype": code})
        case "rest-json":
            body = json.dumps({"Type": "User", "Message": refused.message, "message": refused.message})
            return Response(body, refused.status, {"x-amzn-errortype": code}, content_type="application/json")
        case "rest-xml":
            body = f"<Error><Code>{code}</Code><Message>{escape(refused.message)}</Message></Error>"
            return Response(body, refused.status, content_type="application/xml")
        case _:
            error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(refused.message)}</Message></Error>"
            body = f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>"
            return Response(body, refused.status, content_type="text/xml")
