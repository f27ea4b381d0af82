"""`dcf deploy DIR`: from a folder to an answering function."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli import exits
from cli.arguments import project_option
from cli.artifacts import KINDS, uploaded_from
from cli.client import Json
from cli.epilog import epilog
from cli.following import DEPLOY_SECONDS_MAX, followed
from cli.functions import function_saved
from cli.integrations import VERIFY_SECONDS_MAX, connected_to
from cli.lookup import active_projects, project_of
from cli.manifest import FILE_NAME, Manifest, read_manifest
from cli.projects import project_named_or_made
from cli.session import Session, shown
from cli.trouble import Trouble
from commands.pubspec import read_pubspec
from domain.refusal import Refusal


@click.command(
    epilog=epilog(
        "dcf deploy examples/hello",
        "dcf deploy . --project shop --json",
        "dcf deploy . --no-wait",
        exit_codes=True,
    )
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path())
@project_option
@click.option("--name", help=f"The function (the name in {FILE_NAME}, else in pubspec.yaml).")
@click.option("--provider", type=click.Choice(["local", "aws", "azure", "gcp"]), help="Where to.")
@click.option("--target", metavar="JSON", help="The target's fields, as the API takes them.")
@click.option("--reason", default="", help="Why, for the audit trail.")
@click.option("--validate-only", is_flag=True, help="Upload, save the draft and check; queue nothing.")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is queued.")
@click.option(
    "--timeout", type=float, default=DEPLOY_SECONDS_MAX, show_default=True, help="Seconds to wait for its outcome."
)
@shown
@click.pass_obj
def deploy(
    session: Session,
    folder: Path,
    project: str | None,
    name: str | None,
    provider: str | None,
    target: str | None,
    reason: str,
    validate_only: bool,
    no_wait: bool,
    timeout: float,
) -> None:
    """Deploy the function in DIR (here, when left out): main.dart, Dockerfile and pubspec.yaml.

    dcf.yaml beside them, if there, says project, name, description, trigger, runtime, access, environment, provider
    and target. What is missing, a project, the function, the connection to this machine, is made, and said.
    """
    manifest, files = read_manifest(folder) or Manifest(), _files(folder)
    fields = _object(target) if target is not None else manifest.target or {}
    function_name = name or manifest.name or _package_name(files["yaml"])
    owner = _project(session, project or manifest.project, function_name)
    where = provider or manifest.provider
    paths = _staged(session, owner, files, where)
    described = str(folder / FILE_NAME)
    function = function_saved(session, owner, function_name, manifest.authored(), paths, described=described)
    where = where or function.get("provider") or _only_provider(session, owner)
    if where == "local":
        _connect_local(session, owner)
    request = {
        "functionId": function["functionId"],
        "provider": where,
        "artifactFiles": paths,
        "target": fields,
        "reason": reason,
    }
    address = f"projects/{owner['projectId']}/deployments"
    if validate_only:
        _validate(session, address, request)
        return
    try:
        queued = session.api.write("POST", address, request)
    except KeyboardInterrupt:
        raise Trouble(
            "Interrupted while the deployment was asked for: it may be queued.",
            then=f"dcf deployments list --function {function_name} --project {owner['name']}",
            exit_code=exits.INTERRUPTED,
        ) from None
    session.screen.say(f"Queued {function_name}#{queued['number']} to {where}: {queued['deploymentId']}.")
    followed(session.api, session.screen, queued, no_wait=no_wait, seconds_max=timeout)


def _validate(session: Session, address: str, request: Json) -> None:
    checked = session.api.write("POST", address, {**request, "validateOnly": True})
    _warn(session, checked)
    session.screen.say("All checks passed; nothing was queued.", "green")
    session.screen.result(checked)


def _files(folder: Path) -> dict[str, Path]:
    """The three files by kind. Raises Trouble that names what is missing."""
    missing = [name for name in KINDS if not (folder / name).is_file()]
    if missing:
        raise Trouble(
            f"{folder} has no {' and no '.join(missing)}.",
            then="a function is main.dart, Dockerfile and pubspec.yaml: begin with a copy of examples/hello",
            exit_code=exits.USAGE,
        )
    return {kind: folder / name for name, kind in KINDS.items()}


def _package_name(pubspec: Path) -> str:
    try:
        return read_pubspec(pubspec.read_bytes()).name
    except Refusal as refusal:
        raise Trouble(f"{pubspec}: {refusal.detail}", then=refusal.remedy, exit_code=exits.USAGE) from refusal


def _project(session: Session, named: str | None, function_name: str) -> Json:
    """The project named, else that of the environment, else the only one; made when it is not there."""
    named = named or session.environment.get("DCF_PROJECT")
    if named is None and active_projects(session.api):
        return project_of(session, None)
    project_id, name = project_named_or_made(session, named or function_name)
    return {"projectId": project_id, "name": name}


def _staged(session: Session, project: Json, files: dict[str, Path], provider: str | None) -> dict[str, str]:
    """Upload the files; what `artifactFiles` takes."""
    storage = _storage(session, project, provider)
    uploads = {
        kind: uploaded_from(session, kind, project["projectId"], file, provider=storage) for kind, file in files.items()
    }
    session.screen.say(f"Uploaded {', '.join(file.name for file in files.values())} to the project {project['name']}.")
    return {f"{kind}_file": upload["path"] for kind, upload in uploads.items()}


def _integrations(session: Session, project: Json) -> list[Json]:
    found = session.api.items(f"projects/{project['projectId']}/integrations")
    return [integration for integration in found if integration["status"] != "disconnected"]


def _storage(session: Session, project: Json, provider: str | None) -> str | None:
    """Whose storage an upload goes to: only to be said when there are several."""
    kept = [found["provider"] for found in _integrations(session, project) if found.get("storage")]
    return provider if len(kept) > 1 and provider in kept else None


def _only_provider(session: Session, project: Json) -> str:
    providers = [found["provider"] for found in _integrations(session, project)]
    if len(providers) > 1:
        raise Trouble(
            f"The project is connected to {', '.join(providers)}.", then="choose with --provider", exit_code=exits.USAGE
        )
    return providers[0] if providers else "local"


def _connect_local(session: Session, project: Json) -> None:
    """This machine asks for nothing, so it is connected without being asked to."""
    known = next((found for found in _integrations(session, project) if found["provider"] == "local"), {})
    if known.get("identityStatus") == "verified" and known.get("storageStatus") == "verified":
        return
    connected_to(session, project["projectId"], "local", identity={}, storage={}, seconds_max=VERIFY_SECONDS_MAX)


def _object(text: str) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Trouble(
            "--target takes a JSON object.",
            then='write it like --target \'{"region": "europe-west1"}\'',
            exit_code=exits.USAGE,
        )
    return found


def _warn(session: Session, deployment: Json) -> None:
    for warning in deployment.get("warnings") or []:
        session.screen.warn(warning["message"])
