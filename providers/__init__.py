"""The clouds a function can run in, each one folder behind one port."""

from process.lean import import_without

import_without("structlog", "rich")
