"""What can be seen: read models, the engine that keeps them, and the queries over them."""

from process.lean import import_without

import_without("structlog", "rich")
