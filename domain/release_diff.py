"""In what two releases differ, or what is saved from what is live; and whether making up for it takes a build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, TypeVar

import msgspec

from domain.release import Inputs, Release

Needs = Literal["build", "redeploy"]
K = TypeVar("K", bound=str)
T = TypeVar("T")

# What stands in the image: another value of these is another image.
_BUILT_IN = ("runtime", "sources", "provider", "target")
_OWN = ("provider", "target", "address", "integration_version")
_LIMITS = ("health_path", "start_seconds_max", "memory_mb_max", "request_seconds_max")


class Difference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One field with its two values, None where there is none. `redeploy`: deploying again takes no build."""

    field: str
    before: object
    after: object
    needs: Needs


def between(before: Release, after: Release) -> tuple[Difference, ...]:
    """Every input in which the releases differ."""
    return tuple(_between(before, after))


def since(live: Inputs, saved: Inputs) -> tuple[Difference, ...]:
    """What deploying as it is saved now would change. A file that is not saved with the function is no difference."""
    named = msgspec.structs.replace(live, artifacts={k: v for k, v in live.artifacts.items() if k in saved.artifacts})
    return tuple(_of_inputs(named, saved))


def needs_of(differences: tuple[Difference, ...]) -> Needs | None:
    """What it takes to make up for all of them; None: there are none."""
    if any(difference.needs == "build" for difference in differences):
        return "build"
    return "redeploy" if differences else None


def _between(before: Release, after: Release) -> Iterator[Difference]:
    yield from _each("sources", *({source.kind: source for source in one.sources} for one in (before, after)))
    yield from _of_inputs(*(msgspec.structs.replace(one.inputs, artifacts={}) for one in (before, after)))
    for name in (*_OWN, *_LIMITS):
        yield from _one(_camel(name), getattr(before, name), getattr(after, name))


def _of_inputs(before: Inputs, after: Inputs) -> Iterator[Difference]:
    yield from _each("sources", before.artifacts, after.artifacts)
    yield from _one("runtime", before.runtime, after.runtime)
    yield from _one("trigger", before.trigger, after.trigger)
    yield from _one("access", before.access, after.access)
    yield from _each("environment", before.environment, after.environment)
    yield from _each("secretVersions", before.secret_versions, after.secret_versions)


def _each(field: str, before: Mapping[K, T], after: Mapping[K, T]) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        yield from _one(f"{field}.{name}", before.get(name), after.get(name))


def _one(field: str, before: object, after: object) -> Iterator[Difference]:
    if before != after:
        needs: Needs = "build" if field.split(".", maxsplit=1)[0] in _BUILT_IN else "redeploy"
        yield Difference(field=field, before=before, after=after, needs=needs)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
