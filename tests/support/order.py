"""Which files of tests begin first: those that take longest, so that at the end no worker waits for one of them."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]

# By how long they took, the longest first. Only the order depends on it: what is not listed comes after these.
LONGEST = (
    # These have long runs, ten minutes of simulation among them.
    "journeys/test_kills.py",
    "runner/test_simulation.py",
    "eventstore/archive/test_full_part.py",
    "journeys/test_clouds.py",
    "docs/test_pages.py",
    "providers/test_contract.py",
    "api/test_schemathesis.py",
    "journeys/test_crashes.py",
    "api/test_manners.py",
    "journeys/test_deployment.py",
    "projections/test_reader.py",
    "eventstore/test_server.py",
    "emulators/test_images.py",
    "providers/test_aws.py",
    "providers/test_local_agent.py",
    "journeys/test_generated_client.py",
    "cli/test_audit_export.py",
    "projections/rebuild/test_steps.py",
    "providers/test_local_serving.py",
    "runner/test_webhooks.py",
    "runner/test_upkeep.py",
    "providers/test_gcp_gke.py",
    "cli/test_operators.py",
    "cli/test_backup.py",
    "projections/test_worker.py",
    "audit/test_importing.py",
    "examples/test_examples.py",
    "runner/test_races.py",
    "cli/test_commands.py",
    "audit/test_verification.py",
    "cli/test_projections.py",
    "benchmarks/test_benchmarks.py",
    "api/test_on_postgres.py",
    "eventstore/archive/test_archiving.py",
    "projections/test_engine.py",
    "providers/test_azure_releases.py",
    "projections/test_killed_processes.py",
    "process/test_connection.py",
    "cli/test_serve.py",
)
_PLACES = {TESTS / name: place for place, name in enumerate(LONGEST)}


def place(file: Path) -> int:
    """Where the tests of a file come, among those of all files."""
    return _PLACES.get(file, len(_PLACES))
