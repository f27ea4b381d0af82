"""`dcf log`: the parts the log is kept in, and where the old ones are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from cli import exits
from cli.audit_store import Store, with_store
from cli.epilog import epilog
from cli.operating import settings_of
from cli.session import Session, shown
from cli.trouble import Trouble
from commands.basis import CODEC
from eventstore.archive.archiving import Archiving, CannotArchive, archivable, archive_range, log_parts
from eventstore.archive.manifest import ArchiveDamaged, Manifest
from eventstore.archive.reading import Archive
from eventstore.archive.returning import put_back
from eventstore.database import Database, connect
from eventstore.tree.keeping import STEP_EVENTS_MAX
from eventstore.tree.tree import PostgresTree
from projections.reach import still_reading

T = TypeVar("T")

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(0|[1-9][0-9]{0,4})([hdw])")

_SIZES = """
    SELECT c.relname AS name, pg_total_relation_size(c.oid) AS bytes
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'log.events'::regclass
"""
_TIMES = "SELECT log.time_at($1), log.time_at($2)"


def _directory(command: Callable[..., Any]) -> Callable[..., Any]:
    path = click.Path(path_type=Path, file_okay=False)
    return click.option("--dir", "directory", type=path, help="Where the files are (DCF_ARCHIVE_DIR).")(command)


@click.group(
    epilog=epilog(
        "dcf log show",
        "dcf log archive --older-than 365d --dir /archive/dcf",
        "dcf log check --dir /archive/dcf",
        "dcf log unarchive --dir /archive/dcf",
    )
)
def log() -> None:
    """For who looks after the service: where the log is kept, and moving old parts of it into files.

    Run it where the service runs, with its environment. The service may go on running.
    """


@log.command(epilog=epilog("dcf log show", "dcf log show --json"))
@shown
@click.pass_obj
def show(session: Session) -> None:
    """The parts the log is kept in."""
    items = with_store(session, _parts)
    columns = {"from": "from", "to": "to", "where": "where", "recorded": "recordedFrom", "until": "recordedTo"}
    session.screen.rows(items, {**columns, "bytes": "bytes"}, empty="The log has no parts yet.")


@log.command(epilog=epilog("dcf log archive --older-than 365d --dir /archive/dcf"))
@click.option(
    "--older-than", metavar="TIME", default="365d", show_default=True, help="What is younger stays: 12h, 90d, 8w."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be archived.")
@_directory
@shown
@click.pass_obj
def archive(session: Session, older_than: str, dry_run: bool, directory: Path | None) -> None:
    """Move old parts of the log into compressed files.

    What something may still be decided by stays in the database: of the rest, deployments that are over and refused
    commands, only the file is left. Interrupted, type it again. Never the last part.
    """
    target, age = _chosen(session, directory), _age(older_than)

    async def work(store: Store) -> list[Manifest]:
        async with _owner(store) as owner:
            parts = await archivable(owner, store.log, older_than=age)
            if dry_run:
                for part in parts:
                    session.screen.say(f"{part.name} would be archived.")
                return []
            await _hash_all(store)
            tools = Archiving(
                owner=owner,
                log=store.log,
                codec=CODEC,
                directory=target,
                obstacles=lambda position: still_reading(store.database, position),
                tell=session.screen.progress,
            )
            return [(await archive_range(tools, part)).manifest for part in parts]

    done = _done(session, work)
    if not dry_run:
        _tell(
            session,
            done,
            f"{sum(m.events for m in done)} events are archived in {target}." if done else "Nothing is old enough.",
        )


@log.command(epilog=epilog("dcf log check --dir /archive/dcf"))
@_directory
@shown
@click.pass_obj
def check(session: Session, directory: Path | None) -> None:
    """Read every archived file to its end, and see that it is what was written. Needs no database."""
    target = _chosen(session, directory)

    def checked() -> list[Manifest]:
        opened = Archive.open(target)
        for manifest in opened.manifests:
            session.screen.progress(manifest.file)
            opened.check(manifest)
        return list(opened.manifests)

    with _told():
        found = checked()
    _tell(session, found, f"{sum(m.events for m in found)} events in {len(found)} files are as they were written.")


@log.command(
    epilog=epilog("dcf log unarchive --dir /archive/dcf", "dcf log unarchive --from 1000001 --dir /archive/dcf")
)
@click.option("--from", "first", type=click.IntRange(min=1), default=1, help="Only from the part of this position on.")
@_directory
@shown
@click.pass_obj
def unarchive(session: Session, first: int, directory: Path | None) -> None:
    """Put archived parts back into the database, for what reads the log from its beginning: rebuilds.

    The files stay where they are. Interrupted, type it again.
    """
    target = _chosen(session, directory)

    async def work(store: Store) -> list[str]:
        async with _owner(store) as owner:
            opened = await asyncio.to_thread(Archive.open, target)
            return [p.name for p in await put_back(owner, opened, first=first, tell=session.screen.progress)]

    returned = _done(session, work)
    text = f"{', '.join(returned)}: put back." if returned else "Nothing of it is archived."
    session.screen.result({"parts": returned}, text)


async def _hash_all(store: Store) -> None:
    """The tree of the log takes in all there is while it is at hand; else whoever keeps it would need the files."""
    tree, head = PostgresTree(store.database), await store.log.head()
    while await tree.extend(at_most=STEP_EVENTS_MAX) < head:
        pass


async def _parts(store: Store) -> Sequence[dict[str, Any]]:
    async with _owner(store) as owner:
        sizes = {row["name"]: row["bytes"] for row in await owner.fetch(_SIZES)}
        head = await store.log.head()
        found = []
        for part in await log_parts(owner):
            times = await owner.fetchrow(_TIMES, part.first, min(part.last, head))
            began, ended = times if times is not None else (None, None)
            found.append(
                {
                    "from": part.first,
                    "to": part.last,
                    "where": _where(part.step, part.first, head),
                    "recordedFrom": None if part.first > head else _moment(began),
                    "recordedTo": None if part.first > head else _moment(ended),
                    "bytes": sizes[f"events_{part.first}"],
                }
            )
        return found


def _where(step: str | None, first: int, head: int) -> str:
    if step is None:
        return "empty" if first > head else "database"
    return "archive" if step == "archived" else "archiving was interrupted"


def _moment(at: Any) -> str | None:
    return None if at is None else msgspec.to_builtins(at)


@asynccontextmanager
async def _owner(store: Store) -> AsyncIterator[Database]:
    cache_size = store.settings.statement_cache_size
    async with connect(
        store.url, role="dcf_owner", size_max=3, statement_cache_size=cache_size, application_name="dcf log"
    ) as owner:
        yield owner


def _done(session: Session, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    with _told():
        return with_store(session, work)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except CannotArchive as problem:
        raise Trouble(f"Not now: {problem}.", then="type it again later; nothing is lost or half done") from problem
    except ArchiveDamaged as problem:
        raise Trouble(f"{problem}.", then="dcf log check, or give another --dir") from problem


def _chosen(session: Session, directory: Path | None) -> Path:
    chosen = directory or settings_of(session.environment).archive_dir
    if chosen is None:
        raise Trouble("Where?", then="give --dir, or set DCF_ARCHIVE_DIR", exit_code=exits.USAGE)
    return chosen.expanduser().absolute()


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    if found is None:
        raise Trouble(f"--older-than takes 12h, 90d or 8w, not {text!r}.", exit_code=exits.USAGE)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _tell(session: Session, manifests: Sequence[Manifest], text: str) -> None:
    told = [msgspec.to_builtins(manifest) for manifest in manifests]
    for one in told:
        del one["blocks"]
    session.screen.result({"items": told}, text)
