"""What goes wrong on demand: calls throttled, delayed, denied, damaged, or whose answer is lost after its effect."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Literal

from tests.emulators.aws.answers import Denied, Refused
from tests.emulators.lost_answers import LostAnswers

_LOOKS = ("Assume", "BatchGet", "Describe", "Get", "Head", "Invoke", "List", "Simulate")
Kind = Literal["throttle", "delay", "deny", "fail", "refuse", "lose", "damage"]


@dataclass
class Fault:
    """`call` is a service and an operation, such as `lambda.CreateFunction`, or how that begins."""

    kind: Kind
    call: str
    times: int = 1
    seconds: float = 0.1
    says: tuple[str, str] = ("InvalidRequestException", "Not now")
    after: int = 0


class Faults:
    """Those still to happen."""

    def __init__(self) -> None:
        self.answers = LostAnswers()
        self._to_come: list[Fault] = []
        self._damaged = 0
        self._lock = threading.Lock()

    def add(
        self,
        kind: Kind,
        call: str,
        *,
        times: int = 1,
        seconds: float = 0.1,
        says: tuple[str, str] | None = None,
        after: int = 0,
    ) -> None:
        """`says` are the code and the message of one that refuses; so many calls go well before it, `after`."""
        self._to_come.append(Fault(kind, call, times, seconds, says or Fault.says, after))

    def forget(self) -> set[str]:
        """None of them happens any more: the calls whose time did not come."""
        calls = {fault.call for fault in self._to_come}
        self._to_come.clear()
        return calls

    @property
    def are_over(self) -> bool:
        return not self._to_come

    def before(self, call: str) -> bool:
        """Whether the answer is to be lost. Raises Refused."""
        with self._lock:
            fault = next((one for one in self._to_come if call.startswith(one.call)), None)
            if fault is not None and fault.after:
                fault.after -= 1
                return False
            if fault is None:
                return self.answers.takes(call if _has_an_effect(call) else "")
            fault.times -= 1
            if fault.times <= 0:
                self._to_come.remove(fault)
        match fault.kind:
            case "throttle":
                code = "SlowDown" if call.startswith("s3.") else "ThrottlingException"
                raise Refused(code, "Rate exceeded", 503 if code == "SlowDown" else 429)
            case "deny":
                raise Denied("arn:aws:sts::0:assumed-role/role/session", call.replace(".", ":"), "*")
            case "refuse":
                raise Refused(*fault.says)
            case "fail":
                raise Refused("InternalFailure", "An internal error occurred", 500)
            case "delay":
                time.sleep(fault.seconds)
            case "damage":
                with self._lock:
                    self._damaged += 1
            case "lose":
                pass
        return fault.kind == "lose"

    def arrived(self, body: bytes) -> bytes:
        """The body as it arrives: with a bit that is another, where damage was asked for."""
        with self._lock:
            if not (self._damaged and body):
                return body
            self._damaged -= 1
        return bytes([body[0] ^ 1]) + body[1:]


def _has_an_effect(call: str) -> bool:
    return not call.partition(".")[2].startswith(_LOOKS)
