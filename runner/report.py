"""The command that records what a runner found."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_never

from commands import progress
from commands.progress import ProgressCommand
from runner import plan
from runner.perform import Note, NoteWithdrawn
from runner.world import Held


def report_of(note: Note, held: Held, at: datetime) -> ProgressCommand:
    """The report, under the epoch of the claim."""
    command, fields = _report(note)
    return command(
        tenant_id=held.tenant_id,
        at=at,
        deployment_id=held.deployment_id,
        function_id=held.function_id,
        epoch=held.epoch,
        **fields,
    )


def _report(note: Note) -> tuple[type[ProgressCommand], dict[str, Any]]:  # noqa: C901 - one case a note
    match note:
        case plan.NoteBundled():
            return progress.RecordBundled, {"location": note.location, "digest": note.digest}
        case plan.NoteBuildStarted():
            return progress.RecordBuildStarted, {"build_id": note.build_id}
        case plan.NoteBuildSucceeded():
            return progress.RecordBuildSucceeded, {"build_id": note.build_id, "toolchain": note.toolchain}
        case plan.NoteBuildFailed():
            return progress.RecordBuildFailed, {"build_id": note.build_id, "failure": note.failure}
        case plan.NotePushed():
            return progress.RecordPushed, {"reference": note.reference, "digest": note.digest}
        case plan.NoteReleaseStarted():
            return progress.RecordReleaseStarted, {}
        case plan.NoteApplied():
            return progress.RecordReleaseApplied, {"url": note.url, "revision": note.revision}
        case plan.NoteVerified():
            return progress.RecordReleaseVerified, {}
        case plan.NoteActivated():
            return progress.RecordActivated, {}
        case plan.NoteFailure():
            return progress.RecordFailureFound, {"failure": note.failure}
        case plan.Fail():
            return progress.RecordFailed, {"failure": note.failure, "remaining": note.remaining}
        case plan.Cancel():
            return progress.RecordCanceled, {"remaining": note.remaining}
        case NoteWithdrawn():
            return progress.RecordWithdrawn, {"remaining": note.remaining}
        case plan.NoteUndeployed():
            return progress.RecordUndeployed, {}
        case plan.FailUndeploy():
            return progress.RecordUndeployFailed, {"failure": note.failure, "remaining": note.remaining}
        case _:
            assert_never(note)
