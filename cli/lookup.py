"""Which project or function is meant: by name, by id, or because there is only one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cli import exits
from cli.client import Api, Json
from cli.manifest import read_manifest
from cli.session import Session
from cli.trouble import Trouble

NAMES_MAX = 10


def project_of(session: Session, given: str | None, *, archived: bool = False) -> Json:
    """The project a command is about. Raises Trouble when it is not there, or none is named and there are several.

    `archived`: the command is about the past, so an archived one may be meant where no other is.
    """
    wanted = given or project_named_here(session)
    everything = session.api.items("projects")
    projects = [project for project in everything if project.get("status") != "archived"]
    if wanted:
        found = find(projects, wanted, "projectId") or (find(everything, wanted, "projectId") if archived else None)
        if found is None:
            then = "dcf projects list, or dcf projects create NAME"
            raise Trouble(f"There is no project {wanted!r}.", then=then)
        return found
    match projects:
        case [only]:
            return only
        case []:
            raise Trouble("There is no project yet.", then="dcf projects create NAME")
        case _:
            raise Trouble(
                f"There are several projects: {_names(projects)}.",
                then="name one with --project",
                exit_code=exits.USAGE,
            )


def project_named_here(session: Session) -> str | None:
    """The project that the environment or the folder's dcf.yaml names."""
    if named := session.environment.get("DCF_PROJECT"):
        return named
    here = read_manifest(Path())
    return here.project if here else None


def active_projects(api: Api) -> list[Json]:
    """The projects that are not archived."""
    return [project for project in api.items("projects") if project.get("status") != "archived"]


def function_of(api: Api, project: Json, wanted: str, *, archived: bool = False) -> Json:
    """The function of that name or id in the project; the last archived one of that name where none other is and
    `archived` says so. Raises Trouble when there is none."""
    found = find_function(api, project, wanted, archived=archived)
    if found is None:
        raise Trouble(
            f"There is no function {wanted!r} in the project {project['name']}.",
            then=f"dcf functions list --project {project['name']}",
        )
    return found


def find_function(api: Api, project: Json, wanted: str, *, archived: bool = False) -> Json | None:
    """The function of that name or id in the project; by its name only one that is not archived, unless `archived` says
    that such a one may be meant too."""
    functions = api.items(f"projects/{project['projectId']}/functions")
    by_id = next((function for function in functions if function["functionId"] == wanted.lower()), None)
    live = find([item for item in functions if item["status"] != "archived"], wanted, "functionId")
    return by_id or live or (find(functions, wanted, "functionId") if archived else None)


def find(items: Sequence[Json], wanted: str, id_field: str) -> Json | None:
    """The item with that id or name; names are the same whatever their case, as they are to the service."""
    by_id = next((item for item in items if item[id_field] == wanted.lower()), None)
    folded = wanted.casefold()
    return by_id or next((item for item in items if folded in (item["name"].casefold(), item.get("slug"))), None)


def _names(items: Sequence[Json]) -> str:
    names = [item["name"] for item in items[:NAMES_MAX]]
    return ", ".join(names) + (", …" if len(items) > NAMES_MAX else "")
