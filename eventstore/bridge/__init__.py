"""A persistence module for the eventsourcing library: `PERSISTENCE_MODULE=eventstore.bridge`.

The library looks for its factory in the module it is given, and MAPPER_TOPIC may name `eventstore.bridge:EventMapper`:
hence the two names here. Importing them patches `dataclasses`, so no process of the service does.
"""

from eventstore.bridge.factory import Factory
from eventstore.bridge.mapper import EventMapper

__all__ = ["EventMapper", "Factory"]
