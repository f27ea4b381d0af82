"""`dcf doctor`: is everything installed, reachable and well configured, and what mends what is not?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click
import msgspec

from cli import exits
from cli.doctor_account import account_findings
from cli.doctor_database import database_findings
from cli.doctor_key_service import key_service_findings
from cli.doctor_machine import data_findings, engine_findings, machine_findings, settings_finding
from cli.doctor_service import port_findings, service_findings
from cli.epilog import epilog
from cli.finding import Finding, Status
from cli.screen import Colour
from cli.session import Session, shown
from process.settings import SettingInvalid, Settings

_COLOURS: Mapping[Status, Colour] = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(epilog=epilog("dcf doctor", "dcf doctor --json", "DCF_DATA_DIR=/srv/dcf dcf doctor"))
@shown
@click.pass_obj
def doctor(session: Session) -> int:
    """Check what is installed here, how it is configured, and whether the service answers.

    Run it where the service runs, with the service's environment. The exit code is 1 when any check fails.
    """
    findings = []
    for finding in examined(session):
        findings.append(finding)
        session.screen.say(f"{finding.status:<5} {finding.check:<12} {finding.message}", _COLOURS[finding.status])
        if finding.remedy:
            session.screen.say(f"{'':<19}-> {finding.remedy}")
    counted = {status: sum(finding.status == status for finding in findings) for status in ("warn", "fail")}
    said = f"{counted['fail'] or 'none'} failed, {counted['warn'] or 'no'} {'warning' if counted['warn'] == 1 else 'warnings'}"
    session.screen.result(
        {"checks": msgspec.to_builtins(findings), "failed": counted["fail"], "warned": counted["warn"]},
        f"{len(findings)} checks, {said}.",
    )
    return exits.FAILED if counted["fail"] else exits.OK


def examined(session: Session) -> Iterator[Finding]:
    """All findings, in the order in which one can be the cause of the next."""
    yield from machine_findings()
    yield settings_finding(session.environment)
    try:
        settings = Settings.from_environment(session.environment)
    except SettingInvalid:
        pass  # It is the finding above.
    else:
        yield from data_findings(settings)
        yield from key_service_findings(settings)
        yield from database_findings(settings)
        yield from engine_findings(settings, session.environment)
        yield from port_findings(settings)
        yield from service_findings(settings)
    yield from account_findings(session)
