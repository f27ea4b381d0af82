"""How a simulated cloud behaves: towards every call, and towards one deployment."""

from __future__ import annotations

import msgspec


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """What calls meet. Chances are from 0 to 1, times in seconds."""

    latency_seconds_max: float = 0.0
    throttled: float = 0.0
    unreachable: float = 0.0
    # The call has its effect, and the answer is lost.
    answer_lost: float = 0.0
    # What was changed shows in observations only later, at most so much.
    visible_seconds_max: float = 0.0
    # A withdrawal takes away only a part, and names the rest.
    withdrawn_in_part: float = 0.0


FAIR = Weather()
STORMY = Weather(
    latency_seconds_max=2.0,
    throttled=0.15,
    unreachable=0.05,
    answer_lost=0.1,
    visible_seconds_max=3.0,
    withdrawn_in_part=0.2,
)


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one deployment. `refused` names a verb the cloud says no to."""

    build_seconds: float = 2.0
    build_fails: bool = False
    # What the compiler says of it then.
    complaint: str = "main.dart:3:1: Error: Expected ';' after this."
    healthy_after_seconds: float = 1.0
    comes_up_unhealthy: bool = False
    # What it says before that; `{NAME}` in it is the value of the release's secret.
    last_words: str = "It answered its health path with 500."
    refused: str = ""
    # This many withdrawals leave something behind.
    sticks: int = 0
    # What the cloud repeats wherever it has anything to say: a program tells what it knows, and an error what it was about.
    says: str = ""
    # What the function answers when it is called, and how late.
    answers_with: int = 204
    answers_after_seconds: float = 0.0
