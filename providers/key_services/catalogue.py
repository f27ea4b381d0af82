"""Which key services there are, and those that the operator names."""

from __future__ import annotations

import os

from process.key_ring import KeyRing, WrappedKeys
from process.key_service import KeyService
from process.patient_service import PatientService
from process.settings import SettingInvalid, Settings
from providers.key_services import aws, azure, gcp

_EXPECTED = (
    "name a key as aws-kms:arn:aws:kms:REGION:ACCOUNT:key/ID,"
    " gcp-kms:projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY or"
    " azure-key-vault:https://VAULT.vault.azure.net/keys/KEY do"
)


def key_ring(settings: Settings, store: WrappedKeys) -> KeyRing | None:
    """The tenants' keys as the settings have them wrapped; None where no key service is named. Raises SettingInvalid."""
    current, former = key_services(settings)
    if current is None and not former:
        return None
    return KeyRing(store, current=current, former=former, kept_seconds=settings.master_key_kept_seconds)


def key_services(settings: Settings) -> tuple[KeyService | None, tuple[KeyService, ...]]:
    """What wraps from now on, if any, and what opens what it wrapped before. Raises SettingInvalid."""
    given = settings.master_key_service
    current = None if given is None else _service(given, settings, "DCF_MASTER_KEY_SERVICE")
    names = settings.former_master_key_services.split()
    former = [_service(name, settings, "DCF_FORMER_MASTER_KEY_SERVICES") for name in names if name != given]
    return current, tuple(former)


def _service(name: str, settings: Settings, variable: str) -> KeyService:
    if name.startswith(aws.PREFIX) and aws.is_key(arn := name.removeprefix(aws.PREFIX)):
        return PatientService(aws.AwsKeyService(arn, settings.aws_endpoints))
    if name.startswith(gcp.PREFIX) and gcp.is_key(key := name.removeprefix(gcp.PREFIX)):
        return PatientService(gcp.GcpKeyService(key, settings.gcp_endpoints, os.environ))
    if name.startswith(azure.PREFIX) and azure.is_key(key := name.removeprefix(azure.PREFIX)):
        return PatientService(azure.AzureKeyService(key, settings.azure_endpoints, os.environ))
    raise SettingInvalid(variable, _EXPECTED)
