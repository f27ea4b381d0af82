"""`dcf operators`: what those do who look after the service."""

from __future__ import annotations

import click

from cli.epilog import epilog
from cli.operator_master_key import master_key
from cli.operator_persons import persons
from cli.operator_plans import plans
from cli.operator_queue import queue
from cli.operator_runtimes import runtimes
from cli.operator_tenants import tenants
from cli.projections import projections


@click.group(
    epilog=epilog(
        "dcf operators runtimes list",
        "dcf operators plans change sandbox --set projects=5",
        "dcf operators tenants list",
        "dcf operators queue",
        "dcf operators master-key",
        "dcf --key-file operator.key --url https://functions.example.com operators plans list",
    )
)
def operators() -> None:
    """For who looks after the service: its runtimes, its plans, its tenants, what waits, its read models, its master key.

    The operator's key is taken from --key-file or DCF_KEY, else from the data directory of the service that runs here,
    else it must be the one signed in with.
    """


operators.add_command(runtimes)
operators.add_command(plans)
operators.add_command(tenants)
operators.add_command(persons)
operators.add_command(queue)
operators.add_command(projections)
operators.add_command(master_key)
