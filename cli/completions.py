"""What a shell offers for names that only the service knows. It answers soon, or offers nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from cli.account import chosen
from cli.client import Api, Json
from cli.lookup import active_projects, find, project_named_here
from cli.session import Session
from cli.trouble import Trouble

# Whoever presses the tabulator waits for it.
SECONDS_MAX = 2.0
OFFERED_MAX = 100

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
# A name, and a word about it that some shells show.
Offer = Callable[[Api, Json | None], Iterable[tuple[str, str]]]


def _completing(offer: Offer, *, of_project: bool = True) -> Complete:
    """Completes what begins as a name that is offered; the offer is given the project that is meant, if it is known."""

    def complete(context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        session = context.find_object(Session)
        assert session is not None, "main gives every command its session"
        with suppress(Trouble), _api(session, context) as api:
            project = _project(session, api, context) if of_project else None
            if project is None and of_project:
                return []
            fitting = ((name, word) for name, word in offer(api, project) if _begins(name, typed))
            return [CompletionItem(name, help=word or None) for name, word in islice(fitting, OFFERED_MAX)]
        return []

    return complete


@contextmanager
def _api(session: Session, context: click.Context) -> Iterator[Api]:
    # Nothing was parsed into the session yet: the shell asks before the command is whole.
    given = context.find_root().params
    url, key_file = given.get("url") or session.environment.get("DCF_URL"), given.get("key_file")
    account = chosen(session.logins, session.environment, url=url, key_file=Path(key_file) if key_file else None)
    api = Api(account, attempts_max=1, answer_seconds_max=SECONDS_MAX)
    try:
        yield api
    finally:
        api.close()


def _project(session: Session, api: Api, context: click.Context) -> Json | None:
    named = context.params.get("project") or project_named_here(session)
    projects = active_projects(api)
    if named:
        return find(projects, named, "projectId")
    return projects[0] if len(projects) == 1 else None


def _begins(name: str, typed: str) -> bool:
    return name.casefold().startswith(typed.casefold())


def _name(item: Json) -> str:
    """As it can be typed without quotes."""
    name: str = item["name"]
    return item.get("slug") or name if any(character.isspace() for character in name) else name


def _projects(api: Api, _project: Json | None) -> Iterable[tuple[str, str]]:
    return ((_name(item), item["status"]) for item in active_projects(api))


def _functions(api: Api, project: Json | None) -> Iterable[tuple[str, str]]:
    return ((_name(item), item["status"]) for item in _list(api, project, "functions") if item["status"] != "archived")


def _deployments(api: Api, project: Json | None) -> Iterable[tuple[str, str]]:
    names = {item["functionId"]: _name(item) for item in _list(api, project, "functions")}
    yield from ((name, "the newest that fits") for name in names.values())
    for item in _list(api, project, "deployments"):
        if item["functionId"] in names:
            yield f"{names[item['functionId']]}#{item['number']}", item["status"]


def _artifacts(api: Api, project: Json | None) -> Iterable[tuple[str, str]]:
    # Shells take the colon of `sha256:` for the end of a word.
    return (
        (item["digest"].removeprefix("sha256:")[:12], item["fileName"]) for item in _list(api, project, "artifacts")
    )


def _keys(api: Api, _project: Json | None) -> Iterable[tuple[str, str]]:
    return ((item["name"], item["role"]) for item in api.items("keys", limit=OFFERED_MAX) if not item["revokedAt"])


def _webhooks(api: Api, project: Json | None) -> Iterable[tuple[str, str]]:
    # Not by their addresses: shells take a colon for the end of a word.
    return ((item["webhookId"], item["url"]) for item in _list(api, project, "webhooks") if item["status"] != "removed")


def _members(api: Api, _project: Json | None) -> Iterable[tuple[str, str]]:
    return ((item["personId"], item["role"]) for item in api.items("tenant/members", limit=OFFERED_MAX))


def _runtimes(api: Api, _project: Json | None) -> Iterable[tuple[str, str]]:
    groups = api.get("runtimes")
    return ((row["version"], phase) for phase in ("supported", "deprecating", "disabled") for row in groups[phase])


def _plans(api: Api, _project: Json | None) -> Iterable[tuple[str, str]]:
    return ((item["name"], "") for item in api.get("operations/plans")["items"])


def _permissions(api: Api, _project: Json | None) -> Iterable[tuple[str, str]]:
    return ((permission, "") for permission in api.get("me")["permissions"])


def _list(api: Api, project: Json | None, what: str) -> list[Json]:
    assert project is not None, "what belongs to a project is offered of one"
    return api.items(f"projects/{project['projectId']}/{what}", limit=OFFERED_MAX)


project_names = _completing(_projects, of_project=False)
function_names = _completing(_functions)
deployment_names = _completing(_deployments)
artifact_digests = _completing(_artifacts)
key_names = _completing(_keys, of_project=False)
webhook_ids = _completing(_webhooks)
member_ids = _completing(_members, of_project=False)
runtime_versions = _completing(_runtimes, of_project=False)
scope_names = _completing(_permissions, of_project=False)
plan_names = _completing(_plans, of_project=False)
