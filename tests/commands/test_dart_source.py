"""Whether a Dart file has a `main`."""

from __future__ import annotations

import pytest

from commands.dart_source import SOURCE_BYTES_MAX, declares_main


@pytest.mark.parametrize(
    "source",
    [
        "void main() {}",
        "main(args) async => print(args);",
        "import 'dart:io';\n\nFuture<void> main(List<String> arguments) async {\n}\n",
        "void\nmain // here\n /* or here */ () {}",
        "final main = () => print('hello');",
        "class A { void run() { main(); } }\nvoid main() {}",
        "var a = '${b('}')}'; void main() {}",
        "const s = r'${'; void main() {}",
        "const s = '''\nit's }}} \\'''\n'''; void main() {}",
        "/* a /* b */ c */ void main() {}",
        "// it's\nvoid main() {}",
        "\ufeffvoid main() {}",
    ],
)
def test_finds_one(source: str) -> None:
    assert declares_main(source.encode()) is True


@pytest.mark.parametrize(
    "source",
    [
        "",
        "// void main() {}",
        "/* void main() {} /* */ main() {} */",
        "const s = 'void main() {}';",
        'const s = """\nvoid main() {}\n""";',
        "class App { static void main() {} }",
        "void domain() {} void main2() {}",
        "import 'a.dart' as main;",
        "void run() { main(); }",
        "const s = '${a['main(']}';",
        "}}} class A { void main() {}",
    ],
)
def test_finds_none(source: str) -> None:
    assert declares_main(source.encode()) is False


@pytest.mark.parametrize("source", ["export 'src/app.dart';", "part 'app.dart';", "x" * (SOURCE_BYTES_MAX + 1)])
def test_does_not_know(source: str) -> None:
    assert declares_main(source.encode()) is None


def test_gives_up_on_what_nobody_wrote() -> None:
    assert declares_main(b"var a = " + b"'${" * 50_000) in (None, False)
