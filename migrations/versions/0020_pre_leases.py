"""Leases are the business of those who hold them: projections and runners, never the API."""

from __future__ import annotations

from migrations.statements import run

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_ONLY_THEIRS = "REVOKE ALL ON work.leases FROM dcf_app"


def upgrade() -> None:
    run(_ONLY_THEIRS)
