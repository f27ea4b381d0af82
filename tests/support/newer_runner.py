"""`python -m tests.support.newer_runner`: a runner of a newer version, which has an event the present one does not know."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from domain import deployment as present
from domain.event import Event


class DeploymentApproved(Event, frozen=True, kw_only=True, tag="deployment.approved"):
    by: str


def _evolve(state: present.Deployment, event: Any) -> present.Deployment:
    return state if isinstance(event, DeploymentApproved) else present.evolve(state, event)


APPROVABLE = msgspec.structs.replace(
    present.DEPLOYMENT, events=(*present.DEPLOYMENT.events, DeploymentApproved), evolve=_evolve
)


def main() -> int:
    # Before anything else of ours is imported: from here on this process is of the newer version.
    present.DEPLOYMENT = APPROVABLE
    from runner.__main__ import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
