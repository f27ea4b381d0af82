"""What a function's process can see and do of what is not its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace

from process.settings import Settings
from providers.local.__main__ import SHARED, hidden_from_functions
from providers.local.command import Finished, run
from providers.local.confinement import NOBODY, Confinement, Means
from tests.providers.grounds import build_ended, local, order, sources

PATH = os.environ["PATH"]
# On a machine that is busy with other tests.
RUN_SECONDS_MAX = 60


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
        return await run(argv, cwd=self.own, environment={"PATH": PATH}, seconds_max=RUN_SECONDS_MAX)


@pytest.fixture
def hut(tmp_path: Path) -> Hut:
    return Hut(tmp_path)


_LESS = [pytest.param(means, marks=pytest.mark.proof) for means in ("namespaces", "hidden")]


@pytest.fixture(params=["best", *_LESS])
async def confinement(hut: Hut, request: pytest.FixtureRequest) -> Confinement:
    """The most that this machine allows, and, in long runs, each of the means that are less."""
    best = await Confinement.probe((hut.folder,), hut.folder, PATH)
    order = list(get_args(Means))
    if request.param == "best":
        if best.means == "limits":
            pytest.skip("this machine gives ordinary users no namespaces")
        return best
    if order.index(request.param) < order.index(best.means):
        pytest.skip(f"this machine does not allow {request.param}: at best {best.means}")
    means: Means = request.param
    hidden = best.hidden if means == best.means else (hut.folder.resolve(),)
    return replace(best, means=means, hidden=hidden)


@pytest.fixture
def alone(confinement: Confinement) -> Confinement:
    """With namespaces of processes."""
    if confinement.means == "hidden":
        pytest.skip("these are the means for machines without namespaces of processes")
    return confinement


async def test_hides_our_keys_and_keeps_what_is_needed(hut: Hut, confinement: Confinement) -> None:
    seen = await hut.does(confinement, f"cat {hut.secret} || echo hidden; cat {hut.needed}; echo kept > own")

    assert "secret" not in seen.output
    assert "hidden" in seen.output
    assert "needed" in seen.output
    assert (hut.own / "own").read_text() == "kept\n"


async def test_leaves_what_every_program_needs_to_find_other_machines(hut: Hut, confinement: Confinement) -> None:
    """On many machines /etc/resolv.conf leads into /run, which is hidden."""
    behind, link = hut.folder / "resolve" / "stub.conf", hut.own / "resolv.conf"
    behind.parent.mkdir()
    behind.write_text("nameserver 127.0.0.53\n")
    link.symlink_to(behind)

    seen = await hut.does(replace(confinement, seen=(link,)), f"cat {link}; echo changed >{link}; ls {hut.folder}")

    assert "nameserver 127.0.0.53" in seen.output
    assert "owner.key" not in seen.output
    assert behind.read_text() == "nameserver 127.0.0.53\n"


async def test_cannot_be_taken_off(hut: Hut, confinement: Confinement) -> None:
    seen = await hut.does(
        confinement,
        f"umount {hut.folder}; unshare --user --map-root-user --mount umount -l {hut.folder}; "
        f"cat /proc/{os.getpid()}/root{hut.secret}; cat /proc/1/root{hut.secret}; cat {hut.secret}",
    )

    assert "secret" not in seen.output.replace(str(hut.secret), "")


async def test_shows_it_no_process_but_its_own(hut: Hut, alone: Confinement) -> None:
    seen = await hut.does(alone, "cd /proc; echo [0-9]*")

    assert 0 < len(seen.output.split()) < 8


async def test_lets_it_signal_no_other_function(hut: Hut, alone: Confinement) -> None:
    """Two functions of one user: each tries every number there is."""
    own = hut.folder / "agent" / "other"
    own.mkdir()
    argv = alone.around(
        ("sh", "-c", "trap 'echo hit' TERM; echo up; sleep 1 & wait"), cwd=own, environment={"PATH": PATH}, kept=()
    )
    heard: list[bytes] = []
    other = asyncio.create_task(
        run(argv, cwd=own, environment={"PATH": PATH}, seconds_max=RUN_SECONDS_MAX, write=heard.append)
    )
    while not heard:
        await asyncio.sleep(0.02)

    numbers = " ".join(map(str, range(1, 400))) + f" {os.getpid()} {os.getppid()}"
    await hut.does(
        alone, f"trap '' TERM; for n in {numbers} $(ls /proc | grep '^[0-9]'); do kill -TERM $n; kill -KILL -$n; done"
    )
    ended = await other

    assert ended.succeeded
    assert b"".join(heard) == b"up\n"


async def test_hands_a_signal_for_the_group_on(hut: Hut, alone: Confinement) -> None:
    """What stops a function: it hears it whether it listens or not, though another is the first of its namespace."""
    for listens, said in (("trap 'echo bye; exit 3' TERM", "bye"), ("", "")):
        argv = alone.around(
            ("sh", "-c", f"{listens}\necho up; while :; do sleep 0.05; done"),
            cwd=hut.own,
            environment={"PATH": PATH},
            kept=(),
        )
        pids: list[int] = []
        heard: list[bytes] = []
        running = asyncio.create_task(
            run(
                argv,
                cwd=hut.own,
                environment={"PATH": PATH},
                seconds_max=RUN_SECONDS_MAX,
                write=heard.append,
                started=pids.append,
            )
        )
        while not heard:
            await asyncio.sleep(0.02)
        os.killpg(pids[0], signal.SIGTERM)
        ended = await running

        assert ended.code == (3 if listens else 128 + signal.SIGTERM)
        assert said in ended.output


async def test_leaves_nothing_running_that_left_its_group(hut: Hut, alone: Confinement) -> None:
    await hut.does(alone, "setsid sh -c 'sleep 0.5; echo late > late' & sleep 0.1")
    await asyncio.sleep(0.7)

    assert not (hut.own / "late").exists()


async def test_makes_it_nobody_where_we_are_root(hut: Hut) -> None:
    best = await Confinement.probe((hut.folder,), hut.folder, PATH)
    if best.means != "dropped":
        pytest.skip(f"this machine does not allow it: at best {best.means}")

    seen = await hut.does(best, "id -u; id -g; id -G; cat /etc/shadow; touch /etc/of-a-function; cat /proc/self/status")

    assert seen.output.split()[:3] == [str(NOBODY)] * 3
    assert "root:" not in seen.output
    assert not Path("/etc/of-a-function").exists()
    assert "CapEff:\t0000000000000000" in seen.output
    assert "NoNewPrivs:\t1" in seen.output


async def test_names_what_this_machine_does_not_allow(hut: Hut) -> None:
    best = await Confinement.probe((hut.folder,), hut.folder, PATH)

    least = replace(best, means="limits")

    assert [word for word in least.lacks if "keys" in word]
    assert replace(best, means="dropped", own_network=True, builds_apart=True).lacks == ()


async def test_reaches_neither_the_database_nor_the_agent(hut: Hut, confinement: Confinement) -> None:
    """Both listen on sockets in a folder of ours."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(hut.folder / "s"))
        listening.listen()
        seen = await hut.does(confinement, f"test -e {hut.folder / 's'} || echo not there")

    assert seen.output == "not there\n"


async def test_shares_no_folder_that_everybody_may_write_to(hut: Hut) -> None:
    """Functions of all tenants are one user: what one leaves there, another could read, or take the place of."""
    hidden = hidden_from_functions(Settings(data_dir=hut.folder), {"HOME": str(hut.folder)})
    confinement = await Confinement.probe(hidden, hut.folder, PATH)
    if confinement.means == "limits":
        pytest.skip("this machine gives ordinary users no namespaces")
    name = f"of-a-function-{os.getpid()}"
    ours = [folder / f"{name}-ours" for folder in SHARED if folder.is_dir()]
    for path in ours:
        path.write_text("ours")
    try:
        for folder in (path.parent for path in ours):
            seen = await hut.does(
                confinement, f"cat {folder}/{name}*; echo mine >{folder}/{name} && cat {folder}/{name}"
            )

            assert seen.output.splitlines()[-1] == "mine", folder
            assert "ours\n" not in seen.output
            assert not (folder / name).exists()
    finally:
        for path in ours:
            path.unlink()


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
    plain = replace(plain, means="limits")

    seen = await hut.does(plain, "ulimit -n; nice; echo $GREETING", GREETING="it's me")

    assert seen.output.split() == ["1024", str(5 + os.nice(0)), "it's", "me"]


async def test_a_build_shows_nothing_of_what_its_sources_name(tmp_path: Path) -> None:
    """
    Goal: no tenant reads a key of ours, or of the machine, by having a compiler complain about it.
    Method: sources that import these files; a compiler shows the lines of what it takes for code.
    """
    (tmp_path / "owner.key").write_text("dcf_sentinel_of_the_owner\n")
    (tmp_path / "agent").mkdir()
    files = (tmp_path / "owner.key", tmp_path / "agent" / "name", Path("/etc/shadow"), Path("/proc/1/environ"))
    async with local(tmp_path, OPERATORS_OWN="password") as ground:
        best = await Confinement.probe((tmp_path,), tmp_path, PATH)
        if best.means == "limits":
            pytest.skip("this machine allows no namespaces")
        code = "".join(f"import '{path}';\n" for path in files) + "import '../../../../owner.key';\nvoid main() {}\n"
        wanted = order(ground=ground)
        await ground.provider.bundle(wanted, sources(code.encode()))
        await ground.provider.start_build(wanted)
        build = await build_ended(ground.provider, wanted)
        words = (await ground.provider.build_log(wanted, 0)).text
        name = (tmp_path / "agent" / "name").read_text()

    assert build.status == "failed"
    assert "owner.key" in words, "it says which file it could not find"
    # The agent's name is the mark of what it started, and no secret.
    shown = words.replace(f"DCF_AGENT={name}", "")
    for secret in ("dcf_sentinel", name, "OPERATORS_OWN", *(["root:"] if best.means == "dropped" else [])):
        assert secret not in shown + build.message.replace(f"DCF_AGENT={name}", "")
