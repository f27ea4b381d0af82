"""What goes wrong on demand: requests throttled, delayed, denied, or whose answer is lost after its effect."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web


@dataclass
class Fault:
    """Done `times` times to requests of this method whose path has these words in it.

    Status 0: the answer is lost, unless it is only to come `seconds` later.
    """

    method: str
    words: str
    status: int = 0
    code: str = "Fault"
    times: int = 1
    seconds: float = 0.0

    def fits(self, request: web.Request) -> bool:
        return self.times > 0 and request.method == self.method and self.words in request.path
