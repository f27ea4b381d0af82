"""A quota that is spent: which change of it the words of Kubernetes lead to."""

from __future__ import annotations

import pytest

from providers.gcp.quota import raised

SAID = 'pods "hello-1" is forbidden: exceeded quota: {}'


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "small, requested: pods=1, used: pods=2, limited: pods=2",
            ("small", '{"spec":{"hard":{"pods":"4"}}}'),
        ),
        (
            "team.a, requested: memory=256Mi,requests.cpu=250m, used: memory=1Gi,requests.cpu=1, limited: memory=1Gi,requests.cpu=1100m",
            ("team.a", '{"spec":{"hard":{"memory":"1536Mi","requests.cpu":"1500m"}}}'),
        ),
        ("small, requested: pods=many, used: pods=2, limited: pods=2", None),
        ("small, requested: pods=1, used: services=2, limited: pods=2", None),
        ("small", None),
    ],
)
def test_is_raised_by_what_two_more_pods_ask_for(words: str, expected: tuple[str, str] | None) -> None:
    assert raised(SAID.format(words)) == expected
