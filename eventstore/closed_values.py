"""What is kept closed in PostgreSQL, opened with the keys that the settings give."""

from __future__ import annotations

from eventstore.database import Database
from eventstore.sealing import PostgresPersonKeys, Sealing
from eventstore.secret_values import PostgresSecretStore, SecretVault
from process.key_ring import KeyRing
from process.master_key import local_keys
from process.settings import Settings


def person_sealing(settings: Settings, database: Database, ring: KeyRing | None) -> Sealing:
    """Raises MasterKeyUnusable."""
    keys = local_keys(settings, "person-keys")
    return Sealing(PostgresPersonKeys(database), key_encryption_key=keys.current, former=keys.former, ring=ring)


def secret_vault(settings: Settings, database: Database, ring: KeyRing | None) -> SecretVault:
    """Raises MasterKeyUnusable."""
    keys = local_keys(settings, "function-secrets")
    return SecretVault(PostgresSecretStore(database), key=keys.current, former=keys.former, ring=ring)
