"""What a function's process can see and do of what is not its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from providers.local.command import Finished, run
from providers.local.confinement import Confinement

PATH = os.environ["PATH"]


class Hut:
    """A data folder with a secret in it, and inside a place for a function and a file that it needs."""

    def __init__(self, folder: Path) -> None:
        self.secret = folder / "owner.key"
        self.secret.write_text("secret")
        self.own = folder / "agent" / "run"
        self.own.mkdir(parents=True)
        self.needed = folder / "agent" / "program"
        self.needed.write_text("needed")
        self.folder = folder

    async def does(self, confinement: Confinement, script: str, **environment: str) -> Finished:
        """What the script says when a function runs it."""
        variables = {"PATH": PATH, **environment}
        argv = confinement.around(("sh", "-c", script), cwd=self.own, environment=variables, kept=(self.needed,))
        return await run(argv, cwd=self.own, environment={"PATH": PATH}, seconds_max=10)


@pytest.fixture
def hut(tmp_path: Path) -> Hut:
    return Hut(tmp_path)


@pytest.fixture
async def confinement(hut: Hut) -> Confinement:
    found = await Confinement.probe((hut.folder,), hut.folder, PATH)
    if not found.namespaces:
        pytest.skip("this machine gives ordinary users no namespaces")
    return found


async def test_hides_our_keys_and_keeps_what_is_needed(hut: Hut, confinement: Confinement) -> None:
    seen = await hut.does(confinement, f"cat {hut.secret} || echo hidden; cat {hut.needed}; echo kept > own")

    assert "secret" not in seen.output
    assert "hidden" in seen.output
    assert "needed" in seen.output
    assert (hut.own / "own").read_text() == "kept\n"


async def test_cannot_be_taken_off(hut: Hut, confinement: Confinement) -> None:
    seen = await hut.does(
        confinement,
        f"umount {hut.folder}; unshare --user --map-root-user --mount umount -l {hut.folder}; "
        f"cat /proc/{os.getpid()}/root{hut.secret}; cat /proc/1/root{hut.secret}; cat {hut.secret}",
    )

    assert "secret" not in seen.output.replace(str(hut.secret), "")


async def test_lets_it_change_nothing_but_its_own(hut: Hut, confinement: Confinement) -> None:
    await hut.does(confinement, f"echo changed > {hut.needed}")

    assert hut.needed.read_text() == "needed"


async def test_is_in_force_before_the_functions_own_variables_are(hut: Hut, confinement: Confinement) -> None:
    """
    Goal: a function cannot have its own code run outside by naming it in its environment.
    Method: a PATH of its own, with programs named like those that confine it.
    """
    for name in ("mount", "setpriv", "nice", "mkdir"):
        program = hut.own / name
        program.write_text(f"#!/bin/sh\ncat {hut.secret}\n")
        program.chmod(0o755)

    seen = await hut.does(confinement, "echo ran", PATH=f"{hut.own}:{PATH}", GREETING='it\'s "me"\n$HOME')

    assert seen.output == "ran\n"


async def test_where_there_are_no_namespaces_limits_hold_all_the_same(hut: Hut) -> None:
    plain = await Confinement.probe((hut.folder,), hut.folder, "/bin:/usr/bin")
    plain = Confinement(hidden=plain.hidden, tools=plain.tools, namespaces=False)

    seen = await hut.does(plain, "ulimit -n; nice; echo $GREETING", GREETING="it's me")

    assert seen.output.split() == ["1024", str(5 + os.nice(0)), "it's", "me"]
