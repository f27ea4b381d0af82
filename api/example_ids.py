"""The ids that examples name things by: the same thing has the same id wherever it is shown."""

from __future__ import annotations

from uuid import UUID


def _id(number: int) -> UUID:
    return UUID(f"0192d3a4-5b6c-7d8e-9f00-{number:012d}")


TENANT_ID = _id(1)
PROJECT_ID = _id(2)
FUNCTION_ID = _id(3)
DEPLOYMENT_ID = _id(4)
FORMER_DEPLOYMENT_ID = _id(5)
KEY_ID = _id(6)
PERSON_ID = _id(7)
ARTIFACT_ID = _id(8)
CORRELATION_ID = _id(9)
COMMAND_ID = _id(10)
INTEGRATION_ID = _id(11)
INVITATION_ID = _id(13)
JOB_ID = _id(14)
UPLOAD_ID = _id(15)
WEBHOOK_ID = _id(16)
# An id that a cloud gave.
CLOUD_ID = _id(12)
