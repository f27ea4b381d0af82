"""Which pages of other origins may use the API from a browser (CORS): none, unless the operator names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from api.answer import Header
from process.settings import SettingInvalid

VARIABLE = "DCF_CORS_ORIGINS"
PREFLIGHT_SECONDS = 600
ANY = "*"
_FORM = "name origins such as https://console.example.com with spaces between, or * alone for every page"
# Those of the request line, and of callers that show who they are.
_OF_ALL = ("Authorization", "Content-Type")


class CrossOrigin:
    """What answers say to browsers. Cookies are never meant: a page has to send its credential itself, as a header, so that
    `Access-Control-Allow-Credentials` is never sent, with `*` or without."""

    def __init__(self, origins: tuple[str, ...] = (), *, taken: Iterable[str] = (), shown: Iterable[str] = ()) -> None:
        """`taken` are the request headers a page may send, `shown` those of answers that it may read."""
        self._origins = frozenset(origin.encode() for origin in origins)
        self._any = ANY.encode() in self._origins
        self._taken = ", ".join(sorted({*_OF_ALL, *taken})).encode()
        self._shown: Header = (b"access-control-expose-headers", ", ".join(sorted(shown)).encode())

    @property
    def varies(self) -> bool:
        """Whether an answer depends on who asks, so that no cache may give it to another origin."""
        return bool(self._origins) and not self._any

    def headers(self, asked: Mapping[bytes, bytes]) -> tuple[Header, ...]:
        """Of an answer to a request with these headers; none for an origin that was not named."""
        allowed = self._allowed(asked)
        return () if allowed is None else (allowed, self._shown)

    def preflight(self, asked: Mapping[bytes, bytes], methods: str) -> tuple[Header, ...]:
        """What a browser is told that asks before it sends a request; `methods` are those of the address."""
        if b"access-control-request-method" not in asked or self._allowed(asked) is None:
            return ()
        return (
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-allow-headers", self._taken),
            (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        )

    def _allowed(self, asked: Mapping[bytes, bytes]) -> Header | None:
        origin = asked.get(b"origin")
        if origin is None or not (self._any or origin in self._origins):
            return None
        return (b"access-control-allow-origin", ANY.encode() if self._any else origin)


def origins(text: str) -> tuple[str, ...]:
    """The origins a setting names. Raises SettingInvalid."""
    named = tuple(text.split())
    if ANY in named and len(named) > 1:
        raise SettingInvalid(VARIABLE, f"{ANY} stands alone or not at all; {_FORM}")
    for origin in named:
        if origin != ANY and not _is_origin(origin):
            raise SettingInvalid(VARIABLE, f"{origin} is no origin; {_FORM}")
    return named


def _is_origin(text: str) -> bool:
    """Whether browsers would send exactly this: scheme, host in lower case, and a port that is not the scheme's own."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or "*" in text:
        return False
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return text == f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, usual) else "")
