"""Cloud Logging: what revisions wrote, found by a filter of equalities."""

from __future__ import annotations

import re
from typing import Any

from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.gcp.operations import now
from tests.emulators.gcp.run import CloudRun

_EQUAL = re.compile(r'([\w.]+)\s*=\s*"([^"]*)"')


class Logs:
    def __init__(self, account: Account, run: CloudRun) -> None:
        self._account, self._run = account, run

    @property
    def methods(self) -> Methods:
        return {"logging.entries.list": self._list}

    def _list(self, call: Call) -> dict[str, Any]:
        asked = call.body
        if asked.get("resourceNames") != [f"projects/{self._account.project}"]:
            raise Refused(400, "resource_names must name the project.", field="resource_names")
        self._account.require(call.member, "logging.logEntries.list", asked["resourceNames"][0])
        wanted = dict(_EQUAL.findall(asked.get("filter", "")))
        if wanted.get("resource.type") != "cloud_run_revision":
            raise Refused(501, "Only logs of revisions of Cloud Run are emulated.")
        lines = self._run.logs(wanted.get("resource.labels.revision_name", ""))
        if asked.get("orderBy") == "timestamp desc":
            lines = lines[::-1]
        entries = [{"textPayload": line, "timestamp": now()} for line in lines[: asked.get("pageSize", 50)]]
        return {"entries": entries} if entries else {}
