"""Images as every emulator makes them: built, run, stopped, and refused with the compiler's words."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.emulators.containers import Containers, Unusable
from tests.emulators.images import Build, Workshop
from tests.emulators.recorded import stand_in
from tests.emulators.workshop import workshop
from tests.providers.grounds import BROKEN, HELLO, PUBSPEC, TOOLCHAIN_DIR, packed, sources
from tests.support.service import until

SECONDS_MAX = 60


@pytest.fixture(scope="module", params=[pytest.param(False, id="recorded"), pytest.param(True, id="real")])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    try:
        ready = workshop(tmp_path_factory.mktemp("images"), TOOLCHAIN_DIR, real=request.param)
    except Unusable as unusable:
        pytest.skip(str(unusable))
    yield ready
    ready.close()


def _ended(build: Build) -> str:
    until(lambda: build.is_over, seconds=SECONDS_MAX, what="the build's end")
    return build.status


class TestBuild:
    def test_makes_an_image_that_answers_with_its_environment_until_it_is_stopped(self, made: Workshop) -> None:
        build = made.build(packed(sources(HELLO)), arguments={"DART_VERSION": "3.11.0"})

        assert _ended(build) == "succeeded", build.log
        container = made.run(build.digest, {"GREETING": "Ahoy"})
        until(lambda: container.answers, seconds=SECONDS_MAX, what="an answer")
        answer = httpx.get(f"http://127.0.0.1:{container.port}/")
        container.stop()

        assert answer.text == "Ahoy, world!\n"
        assert "listening on port" in container.log
        assert not container.answers

    def test_lies_in_a_real_registry_and_nowhere_else_until_it_is_pulled(self, tmp_path: Path) -> None:
        """*Method:* what was built is looked for in the engine's storage and in the registry, then run, then looked for again."""
        try:
            craft = Containers(tmp_path / "craft", stand_in(TOOLCHAIN_DIR))
        except Unusable as unusable:
            pytest.skip(str(unusable))
        workshop = Workshop(tmp_path / "work", craft)
        try:
            if craft.registry is None:
                pytest.skip("there is no docker-registry here")
            build = workshop.build(packed(sources(HELLO)), arguments={"DART_VERSION": "3.11.0"})
            assert _ended(build) == "succeeded", build.log
            before = build.digest in craft.stored()
            container = workshop.run(build.digest, {})
            until(lambda: container.answers, seconds=SECONDS_MAX, what="an answer")
            after = build.digest in craft.stored()
        finally:
            workshop.close()

        assert build.manifest is not None
        assert build.digest == f"sha256:{hashlib.sha256(build.manifest.encode()).hexdigest()}"
        assert json.loads(build.manifest)["layers"]
        assert (before, after) == (False, True)

    def test_that_fails_says_what_the_compiler_said(self, made: Workshop) -> None:
        build = made.build(packed(sources(BROKEN)))

        assert (_ended(build), build.digest) == ("failed", "")
        assert "main.dart:2:16: Error: A value of type 'String' can't be assigned" in build.log

    def test_is_stopped_in_the_middle(self, made: Workshop) -> None:
        with made.held():
            build = made.build(packed(sources(HELLO)))
            build.stop()

        assert (_ended(build), build.digest) == ("stopped", "")

    def test_takes_a_zip_and_misses_the_file_that_is_not_in_it(self, made: Workshop) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as files:
            files.writestr("Dockerfile", 'FROM dart:stable\nCOPY main.dart ./\nENTRYPOINT ["/x"]\n')
            files.writestr("pubspec.yaml", PUBSPEC)

        build = made.build(packed.getvalue())

        assert _ended(build) == "failed"
        assert "main.dart" in build.log

    def test_refuses_what_is_no_archive(self, made: Workshop) -> None:
        with pytest.raises(ValueError, match="not an archive"):
            made.build(b"neither zip nor tar")


def test_containers_end_with_their_workshop(tmp_path: Path) -> None:
    ready = workshop(tmp_path, TOOLCHAIN_DIR, real=False)
    build = ready.build(packed(sources(HELLO)))
    assert _ended(build) == "succeeded"
    container = ready.run(build.digest, {})

    ready.close()

    assert not container.is_running
