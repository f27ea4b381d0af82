"""What a Dockerfile says, and what a reviewer says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.dockerfile import DockerfileNotUnderstood, notices, read_dockerfile

EXAMPLES = Path(__file__).parents[2] / "examples"
GOOD = 'FROM dart:3.11 AS build\nRUN dart compile exe main.dart\nFROM scratch\nCOPY --from=build /a /a\nENTRYPOINT ["/a"]\n'


def codes(text: str) -> list[str]:
    return [notice.code for notice in notices(read_dockerfile(text.encode()))]


class TestNotices:
    @pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/Dockerfile")), ids=lambda path: path.parent.name)
    def test_the_standard_one_needs_no_remark(self, path: Path) -> None:
        assert notices(read_dockerfile(path.read_bytes())) == ()

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param(GOOD, [], id="two stages"),
            pytest.param(GOOD.replace("dart:3.11", "dart"), ["docker_base_unpinned"], id="no tag"),
            pytest.param(GOOD.replace("dart:3.11", "dart:latest"), ["docker_base_unpinned"], id="the latest"),
            pytest.param(GOOD.replace("dart:3.11", "host:5000/dart"), ["docker_base_unpinned"], id="a port is no tag"),
            pytest.param(GOOD.replace("dart:3.11", "dart@sha256:00"), [], id="a digest"),
            pytest.param("ARG V=3.11\n" + GOOD.replace("3.11 AS", "${V} AS"), [], id="an argument"),
            pytest.param(GOOD.replace("FROM scratch", "FROM debian:12"), ["docker_runs_as_root"], id="root"),
            pytest.param(GOOD.replace("FROM scratch", "FROM debian:12\nUSER app"), [], id="a user"),
            pytest.param(
                GOOD.replace("FROM scratch", "FROM debian:12\nUSER 0:0"), ["docker_runs_as_root"], id="root by number"
            ),
            pytest.param('FROM dart:3.11\nUSER app\nCMD ["dart"]', ["docker_sdk_in_image"], id="one stage"),
            pytest.param(GOOD.replace('ENTRYPOINT ["/a"]', ""), ["docker_no_command"], id="no command"),
            pytest.param(GOOD.replace('["/a"]', "/a --port 1"), ["docker_shell_form"], id="a shell"),
            pytest.param(GOOD.replace('["/a"]', "exec /a"), [], id="a shell that leaves"),
            pytest.param(GOOD + "EXPOSE 3000/tcp 8080\n", ["docker_port_ignored"], id="another port"),
            pytest.param(GOOD + "EXPOSE $PORT\n", [], id="the port"),
            pytest.param(GOOD + "ADD https://example.com/a.tar /\n", ["docker_adds_from_afar"], id="from afar"),
            pytest.param(GOOD + "ENV API_TOKEN=x MODE=1\n", ["docker_secret_in_image"], id="a secret"),
            pytest.param(GOOD + "ARG DB_PASSWORD\n", ["docker_secret_in_image"], id="a secret argument"),
        ],
    )
    def test_are_those_of_a_reviewer(self, text: str, expected: list[str]) -> None:
        assert codes(text) == expected


class TestReadDockerfile:
    def test_follows_stages_lines_and_documents(self) -> None:
        facts = read_dockerfile(
            b"# escape=`\n"
            b"from dart:3.11 as Base\n"
            b"USER app\n"
            b"# USER root\n"
            b"RUN a && `\n"
            b"  # a comment within\n"
            b"  b\n"
            b"RUN <<END\n"
            b"USER nobody\n"
            b"END\n"
            b"FROM --platform=linux/amd64 base\n"
            b'CMD ["dart"]\n'
        )

        assert (facts.bases, facts.final_base, facts.user, facts.start) == (("dart:3.11",), "dart:3.11", "app", "exec")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"# nothing\n",
            b"RUN a\nFROM b\n",
            b"FROM\n",
            b"FROM a b c d\n",
            b"FROM a\nFLY away\n",
            b"FROM a\nRUN <<END\nnever ended\n",
            b"\xff",
            b"FROM a\n" + b"RUN a\n" * 1_000,
            b"#" * (256 * 1024 + 1),
        ],
    )
    def test_refuses_what_could_not_be_built(self, content: bytes) -> None:
        with pytest.raises(DockerfileNotUnderstood):
            read_dockerfile(content)

    def test_is_quick_with_a_line_that_never_ends(self) -> None:
        assert read_dockerfile(b"FROM a\nRUN " + b"\\\n" * 120_000 + b"x\n").bases == ("a",)
