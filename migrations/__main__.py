"""`python -m migrations`: bring the schema of the configured database up to date."""

from __future__ import annotations

import asyncio
import os
import sys

import structlog

from eventstore.embedded import PostgresUnavailable
from eventstore.server import postgres
from migrations.upgrade import MigrationFailed, migrate, newest
from process import logs
from process.settings import SettingInvalid, Settings


async def _run(settings: Settings) -> None:
    async with postgres(settings) as url:
        await migrate(url)
    structlog.get_logger().info("schema_up_to_date", revision=newest())


def main() -> int:
    try:
        settings = Settings.from_environment(os.environ)
        logs.set_up("migrations", style=settings.log_format, level=settings.log_level)
        asyncio.run(_run(settings))
    except (SettingInvalid, PostgresUnavailable, MigrationFailed) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
