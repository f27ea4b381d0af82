"""`dcf audit checkpoint`, `prove`, `check-proof` and `consistency`: what proves that the log is what it was."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click

from cli import exits
from cli.audit_subject import asking, tenant_option
from cli.client import Api, Json
from cli.epilog import epilog
from cli.session import Session, shown
from cli.trouble import Trouble
from eventstore.canonical import NotCanonical, decode_canonical, encode_canonical
from eventstore.event_lines import NotAnEvent, decode_event_line
from eventstore.tree.merkle import ProofInvalid, check_consistency
from eventstore.tree.notes import NOTE_BYTES_MAX, Checkpoint, NoteInvalid, VerifierKey, opened
from eventstore.tree.proofs import EventProof

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
# A proof holds an event, of which one alone has at most some megabytes.
PROOF_BYTES_MAX = 32_000_000


def key_option(command: F) -> F:
    """The option `--key`, for `keys_of`."""
    return click.option(
        "--key",
        "keys",
        multiple=True,
        metavar="KEY|FILE",
        help="The verifier key that you keep (name+hash+base64), or a file of such, a line each.",
    )(command)


def keys_of(given: tuple[str, ...]) -> list[VerifierKey]:
    """The verifier keys, from files where they are such. Raises Trouble."""
    found = []
    for one in given:
        path = Path(one)
        lines = path.read_text().splitlines() if "\n" not in one and len(one) < 4096 and path.is_file() else [one]
        try:
            found += [VerifierKey.parse(line) for line in lines if line.strip()]
        except NoteInvalid as problem:
            raise Trouble(f"{problem}.", then="dcf audit checkpoint --keys", exit_code=exits.USAGE) from problem
    return found


@click.command(
    epilog=epilog(
        "dcf audit checkpoint > monday.checkpoint",
        "dcf audit checkpoint --keys > log.keys",
        "dcf audit checkpoint --size 2045",
    )
)
@click.option("--size", type=click.IntRange(min=1), help="That of exactly so many events; else the newest.")
@click.option("--keys", is_flag=True, help="The verifier keys instead: keep them where the service's operators cannot.")
@shown
@click.pass_obj
def checkpoint(session: Session, size: int | None, keys: bool) -> None:
    """Show the newest signed checkpoint of the log: keep one now and then, and the log can never be rewritten unseen."""
    if keys:
        found = session.api.get("audit/verifier-keys")
        session.screen.result(found, "\n".join(found["keys"]))
        return
    note = _note(session.api, size)
    said = Checkpoint.parse(note)
    session.screen.result({"origin": said.origin, "size": said.size, "note": note}, note.removesuffix("\n"))


@click.command(epilog=epilog("dcf audit prove 1:2045 > event.tlog-proof", "dcf audit prove 1:2045 --size 3000 --json"))
@click.argument("position")
@click.option(
    "--size", type=click.IntRange(min=1), help="Under the checkpoint of exactly so many events; else the newest."
)
@tenant_option
@shown
@click.pass_obj
def prove(session: Session, position: str, size: int | None, tenant: UUID | None) -> None:
    """Get the proof that an event is in the log, with the event: a file for `dcf audit check-proof`, or any tool that knows
    C2SP tlog-proof."""
    with asking(session, tenant) as api:
        found = api.get(f"audit/events/{position}/proof", size=size, tenantId=tenant)
    session.screen.result(found, found["tlogProof"].removesuffix("\n"))


@click.command(
    "check-proof",
    epilog=epilog(
        "dcf audit check-proof event.tlog-proof --key log.keys",
        "dcf audit check-proof event.json --key log.keys --event line.ndjson",
        exit_codes=True,
    ),
)
@click.argument("file", type=_FILE)
@key_option
@click.option("--event", type=_FILE, help="The event as a line of an export, where the proof came without it.")
@shown
@click.pass_obj
def check_proof(session: Session, file: Path, keys: tuple[str, ...], event: Path | None) -> None:
    """Check a proof without asking anybody: needs only the verifier key that you keep."""
    if not keys:
        raise click.UsageError("Name the verifier key that you keep, with --key.")
    trusted = keys_of(keys)
    try:
        proof = EventProof.parse(_proof_text(file))
        content = proof.event if event is None else encode_canonical(decode_event_line(event.read_bytes()))
        if not content:
            raise Trouble(
                "The proof came without its event.",
                then="give its line of an export with --event",
                exit_code=exits.USAGE,
            )
        shown_event = decode_canonical(content)
        said = proof.check(content, trusted)
    except (ProofInvalid, NotCanonical, NotAnEvent, ValueError) as problem:
        raise Trouble(f"{file} proves nothing: {problem}.") from problem
    session.screen.result(
        {
            "proven": True,
            "origin": said.origin,
            "size": said.size,
            "position": shown_event.position,
            "type": shown_event.type,
            "tenantId": str(shown_event.tenant_id),
            "streamId": str(shown_event.stream_id),
            "recordedAt": shown_event.recorded_at.isoformat(),
        },
        f"{shown_event.type} of {shown_event.stream_id}, recorded {shown_event.recorded_at.isoformat()}, is event"
        f" {shown_event.position} of {said.origin}, by the checkpoint of {said.size} events.",
    )


@click.command(
    epilog=epilog(
        "dcf audit consistency monday.checkpoint --key log.keys",
        "dcf audit consistency monday.checkpoint friday.checkpoint --key log.keys",
        "dcf audit consistency 2045 3000",
        exit_codes=True,
    )
)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="[NEW]", required=False)
@key_option
@shown
@click.pass_obj
def consistency(session: Session, old: str, new: str | None, keys: tuple[str, ...]) -> None:
    """Check that the log only grew between two checkpoints: files that you kept, or sizes; without NEW the newest.

    Exit code 1: what one of them holds is not what the other does.
    """
    trusted = keys_of(keys)
    before, after = (_checkpoint(session.api, one, trusted) for one in (old, new))
    if before.origin != after.origin:
        raise Trouble(
            f"{old} is of {before.origin}, and the other of {after.origin}: the log was restored in between, or is another.",
        )
    try:
        sizes: dict[str, Any] = {"from": before.size, "to": after.size}
        found = session.api.get("audit/consistency", **sizes)
        path = [_decoded(one) for one in found["hashes"]]
        check_consistency(before.size, before.root, after.size, after.root, path)
    except ProofInvalid as problem:
        raise Trouble(
            f"The log was rewritten between {before.size} and {after.size} events, or before: {problem}.",
            then="dcf audit verify, where the service runs, with --checkpoint FILE",
        ) from problem
    session.screen.result(
        {"consistent": True, "origin": after.origin, "oldSize": before.size, "newSize": after.size},
        f"The {after.size} events of {after.origin} begin with the {before.size} of before, unchanged.",
    )


def _note(api: Api, size: int | None) -> str:
    return api.content("audit/checkpoint", size=size).decode()


def _checkpoint(api: Api, wanted: str | None, trusted: list[VerifierKey]) -> Checkpoint:
    """What a file says, or the service of a size or of now. Raises Trouble."""
    if wanted is None or wanted.isdecimal():
        note, name = _note(api, int(wanted) if wanted else None), "the service's checkpoint"
    else:
        try:
            note, name = Path(wanted).read_bytes()[: NOTE_BYTES_MAX + 1].decode(), wanted
        except (OSError, UnicodeDecodeError) as problem:
            raise Trouble(f"{wanted} is no size and no checkpoint: {problem}.", exit_code=exits.USAGE) from problem
    try:
        return Checkpoint.parse(opened(note, trusted) if trusted else note)
    except NoteInvalid as problem:
        raise Trouble(f"{name}: {problem}.") from problem


def _proof_text(file: Path) -> str:
    """The proof, also where it is what `--json` gave. Raises ProofInvalid."""
    content = file.read_bytes()[: PROOF_BYTES_MAX + 1]
    if len(content) > PROOF_BYTES_MAX:
        raise ProofInvalid("it is too large")
    text = content.decode()
    if not text.startswith("{"):
        # As a shell may have saved it.
        return text if text.endswith("\n") else f"{text}\n"
    answer: Json = json.loads(text)
    proof = answer.get("tlogProof")
    if not isinstance(proof, str):
        raise ProofInvalid("it has no `tlogProof`")
    return proof


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)
