"""What makes it so: looks at a deployment and its cloud, plans one step, takes it, and records what it found."""

from process.lean import import_without

import_without("structlog", "rich")
