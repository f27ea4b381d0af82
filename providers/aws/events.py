"""Requests in the shape that a Function URL hands to a function: the adapter in it makes them HTTP again."""

from __future__ import annotations

import msgspec

HEALTH_PATH = "/"


def request_event(method: str, path: str, headers: dict[str, str], body: str = "") -> bytes:
    """The event of one request."""
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "dcf", "x-forwarded-proto": "https", **headers},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "dcf",
            "domainName": "dcf",
            "domainPrefix": "dcf",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "dcf",
            },
            "requestId": "dcf",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1767225600000,
        },
        "body": body,
        "isBase64Encoded": False,
    }
    return msgspec.json.encode(event)
