"""What the package index knows against each locked version: `python -m tests.support.advisories requirements.lock …`.

Ends with 0 when nothing is known, 1 when something is, 2 when some could not be asked about and nothing is known of the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

INDEX = "https://pypi.org"
CLEAN, VULNERABLE, NOT_ASKED = 0, 1, 2
SECONDS_MAX = 20.0
AT_ONCE = 8
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


class Advisory(msgspec.Struct, frozen=True):
    """Something known against a version."""

    id: str
    summary: str
    mended_in: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True):
    """Of one locked version. `because`: why nothing could be learned, empty when something could."""

    name: str
    version: str
    advisories: tuple[Advisory, ...] = ()
    because: str = ""


def locked(text: str) -> list[tuple[str, str]]:
    """The names and versions in a lock file."""
    return _LOCKED.findall(text)


async def verdicts(packages: Sequence[tuple[str, str]], index: str = INDEX) -> list[Verdict]:
    """What the index says of each, in their order."""
    places = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=index, timeout=SECONDS_MAX, follow_redirects=True) as client:

        async def one(name: str, version: str) -> Verdict:
            async with places:
                return await _asked(client, name, version)

        return list(await asyncio.gather(*(one(*package) for package in packages)))


async def _asked(client: httpx.AsyncClient, name: str, version: str) -> Verdict:
    try:
        codes = set()
        # Some mirrors have the page of a project and none of its versions: it is that of the newest one.
        for path in (f"/pypi/{name}/{version}/json", f"/pypi/{name}/json"):
            answer = await client.get(path)
            codes.add(str(answer.status_code))
            if answer.status_code == httpx.codes.OK:
                said = answer.json()
                if said["info"]["version"] == version and "vulnerabilities" in said:
                    return Verdict(name, version, _advisories(said))
                return Verdict(name, version, because="the index tells of another version only")
        return Verdict(name, version, because=f"the index answers {', '.join(sorted(codes))}")
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as problem:
        return Verdict(name, version, because=f"{type(problem).__name__}: {problem}")


def _advisories(said: dict[str, Any]) -> tuple[Advisory, ...]:
    return tuple(
        Advisory(
            " ".join((found["id"], *found.get("aliases", ()))),
            found.get("summary") or (found.get("details") or "").partition("\n")[0][:160],
            tuple(found.get("fixed_in", ())),
        )
        for found in said["vulnerabilities"]
        if not found.get("withdrawn")
    )


def told(found: Sequence[Verdict]) -> tuple[list[str], int]:
    """The report's lines, and how to end."""
    lines = [
        f"{one.name} {one.version}: {advisory.id}: {advisory.summary} "
        + (f"Mended in {', '.join(advisory.mended_in)}." if advisory.mended_in else "Not mended yet.")
        for one in found
        for advisory in one.advisories
    ]
    silent = [one for one in found if one.because]
    vulnerable = sum(bool(one.advisories) for one in found)
    for why in sorted({one.because for one in silent}):
        names = [f"{one.name} {one.version}" for one in silent if one.because == why]
        lines.append(f"Could not ask about {len(names)} ({why}): {', '.join(names)}")
    lines.append(f"{len(found)} packages: {vulnerable} vulnerable, {len(silent)} could not be asked about.")
    return lines, VULNERABLE if vulnerable else NOT_ASKED if silent or not found else CLEAN


def main(arguments: Sequence[str]) -> int:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="advisories", description=__doc__)
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    parser.add_argument("--index", default=INDEX, help=f"where its JSON pages are; {INDEX} when left out")
    given = parser.parse_args(arguments)
    packages = sorted({package for path in given.locks for package in locked(path.read_text())})
    lines, code = told(asyncio.run(verdicts(packages, given.index)))
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
