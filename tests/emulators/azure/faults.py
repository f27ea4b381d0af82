"""What goes wrong on demand: requests throttled, delayed, denied, or whose answer is lost after its effect."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web


@dataclass
class Fault:
    """Done `times` times to requests of this method whose path has these words in it.

    Status 0: the answer is lost, unless it is only to come `seconds` later. `number` is Entra's, of an error that it answers.
    """

    method: str
    words: str
    status: int = 0
    code: str = "Fault"
    times: int = 1
    seconds: float = 0.0
    number: int = 0

    def fits(self, request: web.Request) -> bool:
        return self.times > 0 and request.method == self.method and self.words in request.path


# Questions that are asked by POST.
_LOOKS = ("getAuthToken", "listLogSasUrl", "listSecrets")


def effect_of(request: web.Request) -> str:
    """What kind of effect it has, such as `PUT containerApps`; empty for a question."""
    service, _, rest = request.path.removeprefix("/").partition("/")
    if request.method in ("GET", "HEAD"):
        return ""
    match service:
        case "management":
            names = rest.rpartition("/providers/")[2].split("/")[1::2]
            return "" if names[-1] in _LOOKS else f"{request.method} {'/'.join(names)}"
        case "blob" if request.query.get("comp") != "userdelegationkey":
            return f"{request.method} blob {request.query.get('comp', '')}".strip()
        case "registry" if "/oauth2/" not in rest:
            return f"{request.method} registry"
        case _:
            return ""
