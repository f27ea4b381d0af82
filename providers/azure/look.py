"""A look at what is about to be changed: it has to be fresh, since Azure takes no condition with a change."""

from __future__ import annotations

import time
from collections.abc import Callable

from providers.provider import ProviderBusy

# Less than a runner's lease: who stood still for longer may have been replaced, and looks again.
LOOK_SECONDS_MAX = 5.0


class Look:
    """Begun before Azure is asked, so that the way there and back counts too."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()

    def require_fresh(self) -> None:
        """To be called just before what is sent on the strength of it. Raises ProviderBusy."""
        if self._clock() - self._begun > LOOK_SECONDS_MAX:
            raise ProviderBusy("What Azure showed is too old to act on; it is looked at again.")
