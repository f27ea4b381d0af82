"""Why something asked for is not done: a refusal is a type, its docstring the message, its `code` the contract."""

from __future__ import annotations

import inspect

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One field of the request and what is wrong with it."""

    field: str
    message: str


class Refusal(Exception):
    """The request is refused."""

    code = "refused"
    remedy = ""
    # What of the request it is about, when it is always the same and nothing is said of others.
    field = ""
    # Where the log has it, once it is recorded.
    recorded_at: int | None = None

    def __init__(self, detail: str = "", *, errors: tuple[FieldError, ...] = (), remedy: str = "") -> None:
        self.detail = detail or inspect.cleandoc(type(self).__doc__ or "")
        self.errors = errors or self._about_field()
        self.remedy = remedy or type(self).remedy
        super().__init__(self.detail)

    @property
    def title(self) -> str:
        """The same for every occurrence: the first line of the type's docstring."""
        return inspect.cleandoc(type(self).__doc__ or self.code).splitlines()[0]

    def _about_field(self) -> tuple[FieldError, ...]:
        return (FieldError(field=self.field, message=self.detail),) if self.field else ()


class Invalid(Refusal):
    """The request is well-formed but asks for something that cannot be."""

    code = "invalid"


class Unauthenticated(Refusal):
    """A credential is needed, and none that is known was given."""

    code = "unauthenticated"


class Forbidden(Refusal):
    """The caller may not do this."""

    code = "forbidden"


class NotFound(Refusal):
    """There is no such thing."""

    code = "not_found"


class Conflict(Refusal):
    """The request does not fit the present state."""

    code = "conflict"


class PreconditionFailed(Refusal):
    """The thing has changed since the version named in If-Match."""

    code = "precondition_failed"
    remedy = "Read it again, look at what changed, and repeat the request with the new ETag."


class LimitReached(Refusal):
    """A limit of the plan is reached."""

    code = "limit_reached"
    remedy = "Remove what is no longer needed, or ask for a larger plan."


class Busy(Refusal):
    """There is too much to do at the moment."""

    code = "busy"
    retry_after_seconds = 1
