"""CronJobs of Kubernetes: when they are due, and the call that the one program makes which is run here."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

import msgspec

from tests.emulators.gcp import jobs

_RUN = "metadata.labels['batch.kubernetes.io/job-name']"


class Called(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str]
    body: bytes


def is_due(spec: dict[str, Any], at: datetime) -> bool:
    """Whether the minute is one that the schedule names."""
    return jobs.is_due({"schedule": spec["schedule"], "timeZone": spec.get("timeZone", "Etc/UTC")}, at)


def command_of(body: dict[str, Any], at: datetime) -> list[str]:
    """What the one container of a run is told, its variables put in as Kubernetes does: a run is named after its minute."""
    run = f"{body['metadata']['name']}-{int(at.astimezone(UTC).timestamp()) // 60}"
    [container] = body["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    known = {one["name"]: run for one in container["env"] if one["valueFrom"]["fieldRef"]["fieldPath"] == _RUN}
    words = list(container["command"])
    for name, value in known.items():
        words = [word.replace(f"$({name})", value) for word in words]
    return words


def called(body: dict[str, Any], at: datetime) -> Called:
    """What curl sends that is told so; that the real one does is looked at in test_gcp_gke.py."""
    program, *words = command_of(body, at)
    assert program == "curl", "no other program is known here"
    given = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for flag in ("--fail", "--silent", "--show-error"):
        given.add_argument(flag, action="store_true")
    given.add_argument("--output")
    given.add_argument("--max-time", type=float)
    given.add_argument("--header", action="append", default=[])
    given.add_argument("--data-raw")
    given.add_argument("url")
    asked = given.parse_args(words)
    headers = dict(one.split(": ", 1) for one in asked.header)
    return Called(url=asked.url, headers=headers, body=asked.data_raw.encode())
