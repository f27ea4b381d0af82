"""HTTP, and nothing else: routes, authentication, and how refusals become answers."""
