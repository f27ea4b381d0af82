"""`python -m cli`: the operator's commands."""

from __future__ import annotations

import argparse
import os
import sys

from cli import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="dcf", description="Dart Cloud Functions.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = "run the whole service on this machine: PostgreSQL, the API, the projections, the runner, the local agent"
    serve.add_arguments(commands.add_parser("serve", help=about, description=about[0].upper() + about[1:] + "."))
    arguments = parser.parse_args()
    return serve.run(arguments, os.environ)


if __name__ == "__main__":
    sys.exit(main())
