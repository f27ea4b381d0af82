"""HTTP, and nothing else: routes, authentication, and how refusals become answers."""

from process.lean import import_without

import_without("structlog", "rich")
import_without("httpx", "httpx._main")
