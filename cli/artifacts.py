"""`dcf artifacts`: uploaded source files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from cli import exits
from cli.arguments import project_option
from cli.client import Json
from cli.completions import artifact_digests
from cli.epilog import epilog
from cli.lookup import project_of
from cli.resuming import RESUMABLE_BYTES_MIN, sent_in_pieces
from cli.session import Session, shown
from cli.trouble import Trouble

# By the name the file has; another name needs --kind.
KINDS = {"main.dart": "code", "Dockerfile": "docker", "pubspec.yaml": "yaml"}
_NAMES = {kind: name for name, kind in KINDS.items()}

_COLUMNS = {
    "file": "fileName",
    "kind": "kind",
    "bytes": "sizeBytes",
    "digest": "digest",
    "in": "provider",
    "uploaded": "createdAt",
}
_FIELDS = {"id": "artifactId", "path": "path", **_COLUMNS}


@click.group(
    epilog=epilog(
        "dcf artifacts upload main.dart Dockerfile pubspec.yaml --project shop",
        "dcf artifacts download sha256:2c26b4 --to main.dart",
    )
)
def artifacts() -> None:
    """Artifacts: source files as they were uploaded, each known by its digest."""


@artifacts.command("list", epilog=epilog("dcf artifacts list", "dcf artifacts list --project shop --json"))
@project_option
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@shown
@click.pass_obj
def list_(session: Session, project: str | None, limit: int) -> None:
    """List the artifacts of a project, newest first."""
    path = f"projects/{project_of(session, project)['projectId']}/artifacts"
    session.screen.rows(session.api.items(path, limit=limit), _COLUMNS, empty="No artifacts yet.")


@artifacts.command(
    epilog=epilog(
        "dcf artifacts upload main.dart Dockerfile pubspec.yaml", "dcf artifacts upload server.dart --kind code"
    )
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@project_option
@click.option("--kind", type=click.Choice(["code", "docker", "yaml"]), help="What it is, when its name does not tell.")
@click.option("--provider", help="Whose storage, when the project uses several.")
@shown
@click.pass_obj
def upload(
    session: Session, files: tuple[Path, ...], project: str | None, kind: str | None, provider: str | None
) -> None:
    """Upload source files. What was interrupted goes on from where it stood when it is typed again."""
    project_id = project_of(session, project)["projectId"]
    kinds = {file: kind or _kind(file) for file in files}
    uploaded = [uploaded_from(session, kinds[file], project_id, file, provider=provider) for file in files]
    session.screen.rows(uploaded, _FIELDS, empty="")


@artifacts.command(
    epilog=epilog("dcf artifacts download 2c26b4 --to main.dart", "dcf artifacts download sha256:2c26b4 --force")
)
@click.argument("digest", metavar="DIGEST|ID", shell_complete=artifact_digests)
@project_option
@click.option("--to", "target", type=click.Path(path_type=Path, dir_okay=False), help="The file (the artifact's name).")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@shown
@click.pass_obj
def download(session: Session, digest: str, project: str | None, target: Path | None, force: bool) -> None:
    """Download an artifact by its digest (or its beginning) or its id, and check what arrived."""
    base = f"projects/{project_of(session, project)['projectId']}/artifacts"
    known = _found(session.api.items(base), digest)
    file = target or Path(Path(known["fileName"]).name)
    if file.exists() and not force:
        raise Trouble(
            f"{file} is there already.", then="give another name with --to, or --force", exit_code=exits.USAGE
        )
    content = session.api.content(f"{base}/{known['digest']}/content")
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != known["digest"]:
        raise Trouble(
            "What arrived is not what the digest says; nothing was written.", then="try again, or `dcf doctor`"
        )
    file.write_bytes(content)
    session.screen.result({**known, "file": str(file)}, f"{file}: {len(content)} bytes, {known['digest']}")


def uploaded_from(session: Session, kind: str, project_id: str, file: Path, *, provider: str | None = None) -> Json:
    """Upload a file as what it is to be, whatever its own name; larger ones in pieces. Raises Trouble when it cannot be read."""
    try:
        content = file.read_bytes()
    except OSError as problem:
        raise Trouble(f"{file} cannot be read: {problem.strerror}.", exit_code=exits.USAGE) from problem
    if len(content) >= RESUMABLE_BYTES_MIN:
        return sent_in_pieces(session.api, kind, project_id, content, provider=provider)
    return session.api.upload(kind, project_id, _NAMES[kind], content, provider=provider)


def _kind(file: Path) -> str:
    if file.name not in KINDS:
        raise Trouble(f"What is {file}?", then="say it with --kind code, docker or yaml", exit_code=exits.USAGE)
    return KINDS[file.name]


def _found(known: list[Json], wanted: str) -> Json:
    matching = {
        item["digest"]: item
        for item in known
        if wanted == item["artifactId"]
        or item["digest"].removeprefix("sha256:").startswith(wanted.removeprefix("sha256:"))
    }
    match list(matching.values()):
        case [only]:
            return only
        case []:
            raise Trouble(f"There is no artifact {wanted!r} in the project.", then="dcf artifacts list")
        case _:
            raise Trouble(f"Several artifacts begin with {wanted!r}.", then="give more of the digest")
