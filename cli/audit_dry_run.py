"""`dcf audit dry-run`: what a changed read model would show, before it is served."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import click
import msgspec

from audit.dry_run import NothingServed
from audit.dry_run import dry_run as run
from audit.findings import Findings
from cli import exits
from cli.audit_store import Store, with_store
from cli.audit_text import change_lines
from cli.audit_verify import teller
from cli.client import Json
from cli.epilog import epilog
from cli.session import Session, shown
from cli.trouble import Trouble
from commands.basis import CODEC
from eventstore.archive.manifest import ArchiveDamaged
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived
from projections.active import Served
from projections.catalogue import READ_MODELS
from projections.read_model import AnyModel, ReadModel

_WOULD = {
    "missing": "would be made",
    "surplus": "would go",
    "differs": "would differ",
    "unreadable": "cannot be folded",
}
FIELDS_SHOWN_MAX = 20


@click.command(
    "dry-run",
    epilog=epilog(
        "dcf audit dry-run functions",
        "dcf audit dry-run functions --code ./changed.py:FUNCTIONS",
        exit_codes=True,
    ),
)
@click.argument("model", type=click.Choice([model.name for model in READ_MODELS]))
@click.option(
    "--code", metavar="MODULE:NAME", help="Where the changed read model is: a module, or a file. This release's."
)
@shown
@click.pass_obj
def dry_run(session: Session, model: str, code: str | None) -> int:
    """Run a changed read model over the whole log, and show what would differ from what is served. Nothing is written.

    The service may go on running. Exit code 1: there are events that the changed code cannot fold.
    """
    changed = _loaded(code) if code else next(known for known in READ_MODELS if known.name == model)
    if changed.name != model:
        raise Trouble(f"{code} is the read model {changed.name}, not {model}.", exit_code=exits.USAGE)

    async def work(store: Store) -> tuple[Served, Findings]:
        return await run(
            store.database, CODEC, changed, teller(session.screen), shelf=Shelf(store.settings.archive_dir)
        )

    try:
        served, findings = with_store(session, work)
    except NothingServed as problem:
        raise Trouble(f"{str(problem).capitalize()}.", then="dcf serve, which makes it") from problem
    except EventsArchived as archived:
        raise Trouble(archived.detail, then=archived.remedy) from archived
    except ArchiveDamaged as damaged:
        raise Trouble(f"{damaged}.", then="restore the file from a backup") from damaged
    _show(session, changed, served, findings)
    return exits.FAILED if findings.problems["unreadable"] else exits.OK


def _loaded(code: str) -> AnyModel:
    """The read model that the text names. Raises Trouble."""
    place, _, name = code.rpartition(":")
    if not place or not name:
        raise Trouble(
            f"{code!r} names no read model.", then="name it like ./changed.py:FUNCTIONS", exit_code=exits.USAGE
        )
    try:
        found = getattr(_module(place), name, None)
    except Exception as error:  # whatever somebody's module does when it is loaded
        raise Trouble(f"{place!r} cannot be loaded: {type(error).__name__}: {error}", exit_code=exits.USAGE) from error
    if not isinstance(found, ReadModel):
        raise Trouble(f"{code!r} is no read model.", then="name it like ./changed.py:FUNCTIONS", exit_code=exits.USAGE)
    return found


def _module(place: str) -> object:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(f"dry_run_{Path(place).stem}", place)
    if spec is None or spec.loader is None:
        raise ImportError(place)
    module = importlib.util.module_from_spec(spec)
    # Types are looked up there by their names.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _show(session: Session, changed: AnyModel, served: Served, findings: Findings) -> None:
    if session.as_json:
        session.screen.result(_as_json(changed, served, findings))
        return
    screen = session.screen
    for difference in findings.differences:
        screen.say(f"{difference.id} of tenant {difference.tenant_id}: {difference.detail or difference.problem}")
        changes: list[Json] = msgspec.to_builtins(difference.changes)
        for line in change_lines(changes, before="served", after="would be"):
            screen.say(line)
    if findings.count > len(findings.differences):
        screen.say(f"and {findings.count - len(findings.differences)} more.")
    rows = findings.checked[f"{changed.name} rows"]
    screen.say(f"{rows} rows of version {served.version} are served; by this code (version {changed.version}):")
    for problem, count in findings.problems.items():
        screen.say(f"{count:>10}  {_WOULD.get(problem, problem)}")
    for path, count in findings.fields.most_common(FIELDS_SHOWN_MAX):
        screen.say(f"{count:>10}  in {path}")
    if findings.are_good:
        screen.say("Nothing would differ.", "green")
    screen.say("Nothing was written.")


def _as_json(changed: AnyModel, served: Served, findings: Findings) -> Json:
    return {
        "model": changed.name,
        "servedVersion": served.version,
        "changedVersion": changed.version,
        "rows": findings.checked[f"{changed.name} rows"],
        "problems": dict(findings.problems),
        "fields": dict(findings.fields),
        "differences": msgspec.to_builtins(findings.differences),
    }
