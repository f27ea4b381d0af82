"""What can be wrong with a request before anybody decides about it."""

from __future__ import annotations

from domain.refusal import Busy, Conflict, Forbidden, Invalid, NotFound, Refusal, Unauthenticated


class CredentialMissing(Unauthenticated):
    """This needs a credential."""

    code = "credential_missing"
    remedy = "Send an API key: Authorization: Bearer dcf_…"


class CredentialUnknown(Unauthenticated):
    """The credential is not known, has expired or was revoked."""

    code = "credential_unknown"
    remedy = "Check the API key, or ask an owner of the tenant for a new one."


class IssuerAway(Busy):
    """The issuer of the ID token cannot be asked for its keys at the moment."""

    code = "issuer_away"
    remedy = "Sign in again in a moment, or use an API key."


class TenantNotChosen(Forbidden):
    """The caller is a member of several tenants, and the request names none of them."""

    code = "tenant_not_chosen"
    remedy = "Send the id of one of them in the header Dcf-Tenant; GET /api/v1/me lists them."


class OnlyPeople(Forbidden):
    """Only somebody who is signed in may do this; an API key belongs to its tenant and to nobody."""

    code = "only_people"
    remedy = "Sign in, and send the ID token instead of an API key."


class NoMembership(Forbidden):
    """The caller is signed in, and a member of no tenant."""

    code = "no_membership"
    remedy = "Ask an owner or admin of a tenant for an invitation, and accept it."


class NotAMember(Forbidden):
    """The header Dcf-Tenant names a tenant the caller is no member of."""

    code = "not_a_member"
    remedy = "Name one that GET /api/v1/me lists."


class PermissionMissing(Forbidden):
    """The caller's role does not allow this."""

    code = "permission_missing"
    remedy = "Use a key whose role and scopes allow it."


class RouteUnknown(NotFound):
    """There is nothing at this address."""

    code = "route_unknown"
    remedy = "GET /api/v1/openapi.json lists every address there is."


class MethodNotAllowed(Refusal):
    """The address does not take this method."""

    code = "method_not_allowed"
    remedy = "Use one of the methods that the Allow header names."


class BodyMalformed(Refusal):
    """The body cannot be read."""

    code = "body_malformed"
    remedy = "Send one complete JSON document in UTF-8."


class FieldRepeated(Refusal):
    """An object in the body has one field more than once, so nobody can tell which one is meant."""

    code = "field_repeated"
    remedy = "Send each field of an object once."


class HeaderRepeated(Refusal):
    """A header that has one value came more than once, so nobody can tell which one is meant."""

    code = "header_repeated"
    remedy = "Send the header once, also where both have the same value. If-Match takes several tags with commas between them."


class HostMissing(Refusal):
    """The request does not say which host it is for, as HTTP/1.1 asks (RFC 9112, section 3.2)."""

    code = "host_missing"
    remedy = "Send the header Host with the service's name; every HTTP client does unless it is told otherwise."
    field = "Host"


class FormMalformed(Refusal):
    """The form cannot be read to its end."""

    code = "form_malformed"
    remedy = "Send complete multipart/form-data with the parts `file` and `projectId`."


class BodyInvalid(Invalid):
    """The body does not have the form this request takes."""

    code = "body_invalid"
    remedy = "Send the fields that GET /api/v1/openapi.json shows for this request, and no others."


class FileEmpty(Invalid):
    """The file is empty."""

    code = "file_empty"
    remedy = "Upload the file with its content."


class FileNotText(Invalid):
    """The file is not text in UTF-8."""

    code = "file_not_utf8"
    remedy = "Save the file as UTF-8 and upload it again."


class FileNameNotTaken(Invalid):
    """The file has a name its kind cannot have."""

    code = "file_name_not_taken"
    remedy = "Upload it under the name its kind has: main.dart, Dockerfile or pubspec.yaml."


class ParameterInvalid(Invalid):
    """A parameter of the address or a header has a value it cannot have."""

    code = "parameter_invalid"
    remedy = "Mend the parameter or the header, or leave it out."


class OnlyOfNow(Invalid):
    """What is counted here is known as it is now; what it was is not kept."""

    code = "only_of_now"
    remedy = "Leave asOf out, or read the lists of projects, functions, deployments and members as of then."


class BodyTooLarge(Refusal):
    """The body is larger than this request may be."""

    code = "body_too_large"
    remedy = "Send a smaller body."


class MediaTypeNotTaken(Refusal):
    """The body has a media type this request does not take."""

    code = "media_type_not_taken"
    remedy = "Send the Content-Type that GET /api/v1/openapi.json shows for this request."


class NotYetVisible(Busy):
    """The read models have not reached the position asked for."""

    code = "not_yet_visible"
    remedy = "Ask again in a moment."


class OutcomeNotKnown(Busy):
    """The connection was lost while the request was recorded; it is done, or it is not."""

    code = "outcome_not_known"
    remedy = "Repeat the request with the same Idempotency-Key: it is then done once."


class FunctionUnavailable(Busy):
    """The functions of this machine cannot be reached at the moment."""

    code = "function_unavailable"
    remedy = "Ask again in a moment."


class NotRecordable(Invalid):
    """The request is too large, or holds text that cannot be stored."""

    code = "not_recordable"
    remedy = "Send less at a time."


class ProviderRefusedUs(Conflict):
    """The provider refused."""

    code = "provider_refused"
    remedy = "Mend what the provider names, and ask again."


class ProviderAway(Busy):
    """The provider does not answer, or asks to be left alone for a while."""

    code = "provider_away"
    remedy = "Repeat the request in a moment."


class MasterKeyAway(Busy):
    """The service that keeps this installation's master key cannot be asked; nothing was changed."""

    code = "master_key_away"
    remedy = "Repeat the request in a moment; if it goes on, tell the operators: `dcf doctor` says what is wrong."

    def __init__(self, retry_after_seconds: float = 5.0) -> None:
        super().__init__()
        self.retry_after_seconds = max(1, round(retry_after_seconds))


class Unexpected(Refusal):
    """Something went wrong on our side."""

    code = "unexpected"
    remedy = "Repeat the request; if it goes on, tell the operators the correlation id."
