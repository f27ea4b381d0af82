"""The registry of Azure's emulator: what is kept of an image is its manifest as it was pushed."""

from __future__ import annotations

import hashlib

from tests.emulators.azure.customer import PULLER, REGISTRY, Customer, path_of, principal_of
from tests.emulators.azure.images import Images

MANIFEST = '{"schemaVersion": 2, "config": {"digest": "sha256:1"}, "layers": [{"digest": "sha256:2"}]}'


def test_an_image_has_the_digest_of_the_manifest_of_the_registry_behind() -> None:
    customer = Customer()
    customer.set_up()
    images, digest = Images(customer), f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"

    pushed = images.push(REGISTRY, "hello", "1", digest, MANIFEST)

    assert pushed == digest
    puller = principal_of(path_of("Microsoft.ManagedIdentity/userAssignedIdentities", PULLER))
    assert images.pulled(puller, f"{REGISTRY}.azurecr.io/hello@{digest}") == digest
    assert images.repositories[REGISTRY, "hello"].manifests[digest] == MANIFEST.encode()
