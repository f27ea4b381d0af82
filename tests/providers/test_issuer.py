"""The tokens we show to clouds, and the keys that prove them."""

from __future__ import annotations

import stat
from pathlib import Path
from uuid import UUID, uuid4

import jwt
import pytest

from providers.issuer import (
    ANNOUNCED_SECONDS,
    FILE_NAME,
    SIGNS_SECONDS,
    TOKEN_SECONDS,
    Issuer,
    IssuerUnusable,
    Keyring,
    ProjectedToken,
    TokenUnavailable,
)

TENANT, PROJECT = UUID(int=1), UUID(int=2)
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def issuer_over(path: Path, clock: Clock, *, rotates: bool = True) -> Issuer:
    return Issuer(Keyring(path, rotates=rotates, clock=clock), lambda: "https://dcf.example/", clock=clock)


def verified(issuer: Issuer, token: str) -> dict[str, object]:
    """The claims, proven by what the issuer publishes and by nothing else."""
    keys = jwt.PyJWKSet.from_dict(issuer.jwks())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    options: dict[str, object] = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    return dict(jwt.decode(token, key.key, algorithms=["RS256"], audience=AUDIENCE, options=options))  # type: ignore[arg-type]


class TestAToken:
    def test_names_the_tenant_and_the_project_and_is_soon_over(self, tmp_path: Path, clock: Clock) -> None:
        issuer = issuer_over(tmp_path / FILE_NAME, clock)

        claims = verified(issuer, issuer.token(TENANT, PROJECT, AUDIENCE))

        assert claims["iss"] == "https://dcf.example"
        assert claims["sub"] == f"tenant:{TENANT}:project:{PROJECT}"
        assert (claims["iat"], claims["exp"]) == (clock.now, clock.now + TOKEN_SECONDS)

    def test_is_for_one_audience_and_has_an_id_of_its_own(self, tmp_path: Path, clock: Clock) -> None:
        issuer = issuer_over(tmp_path / FILE_NAME, clock)

        one, other = (verified(issuer, issuer.token(TENANT, PROJECT, AUDIENCE)) for _ in range(2))

        assert one["jti"] != other["jti"]
        with pytest.raises(jwt.InvalidAudienceError):
            verified(issuer, issuer.token(TENANT, PROJECT, "somebody-else"))

    def test_fits_what_google_takes_for_a_subject(self, tmp_path: Path, clock: Clock) -> None:
        assert len(issuer_over(tmp_path / FILE_NAME, clock).subject(uuid4(), uuid4())) <= 127


class TestTheKeyring:
    def test_is_one_file_for_all_processes_and_for_this_user_only(self, tmp_path: Path, clock: Clock) -> None:
        path = tmp_path / FILE_NAME
        api, runner = issuer_over(path, clock), issuer_over(path, clock)

        assert verified(api, runner.token(TENANT, PROJECT, AUDIENCE))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_shows_a_new_key_before_it_signs_and_the_old_one_after_it_has(self, tmp_path: Path, clock: Clock) -> None:
        """
        Goal: whoever read our keys within the last day can prove every token.
        Method: live through four months, day by day, and prove each day's token by the keys shown the day before.
        """
        issuer = issuer_over(tmp_path / FILE_NAME, clock)
        shown = {key["kid"] for key in issuer.jwks()["keys"]}
        signed = set()

        for _ in range(120):
            clock.now += ANNOUNCED_SECONDS
            kid = jwt.get_unverified_header(issuer.token(TENANT, PROJECT, AUDIENCE))["kid"]
            assert kid in shown
            signed.add(kid)
            shown = {key["kid"] for key in issuer.jwks()["keys"]}
            assert kid in shown

        assert len(signed) == 1 + 120 * ANNOUNCED_SECONDS // SIGNS_SECONDS
        assert len(shown) <= 3

    def test_of_the_operator_is_only_read(self, tmp_path: Path, clock: Clock) -> None:
        path = tmp_path / FILE_NAME
        issuer_over(path, clock).token(TENANT, PROJECT, AUDIENCE)
        before = path.read_bytes()
        clock.now += 10 * SIGNS_SECONDS

        token = issuer_over(path, clock, rotates=False).token(TENANT, PROJECT, AUDIENCE)

        assert path.read_bytes() == before
        assert verified(issuer_over(path, clock, rotates=False), token)

    def test_says_what_is_wrong_with_its_file(self, tmp_path: Path, clock: Clock) -> None:
        path = tmp_path / FILE_NAME
        with pytest.raises(IssuerUnusable, match="DCF_ISSUER_KEYS_FILE"):
            issuer_over(path, clock, rotates=False).jwks()
        path.write_text("{")

        with pytest.raises(IssuerUnusable, match="backup"):
            issuer_over(path, clock).jwks()

    def test_keeps_its_private_halves_to_itself(self, tmp_path: Path, clock: Clock) -> None:
        issuer = issuer_over(tmp_path / FILE_NAME, clock)
        keyring = Keyring(tmp_path / FILE_NAME, clock=clock)

        assert set(issuer.jwks()["keys"][0]) == {"kty", "use", "alg", "kid", "n", "e"}
        assert "PRIVATE" not in repr(keyring.signing())


class TestAProjectedToken:
    def test_is_given_on_as_it_is_for_the_audience_it_has(self, tmp_path: Path, clock: Clock) -> None:
        path = tmp_path / "token"
        text = issuer_over(tmp_path / FILE_NAME, clock).token(TENANT, PROJECT, AUDIENCE)
        path.write_text(text + "\n")
        source = ProjectedToken(path)

        assert source.token(TENANT, PROJECT, AUDIENCE) == text
        assert (source.issuer, source.subject(TENANT, PROJECT)) == (
            "https://dcf.example",
            f"tenant:{TENANT}:project:{PROJECT}",
        )
        with pytest.raises(TokenUnavailable, match="set the volume's audience to sts"):
            source.token(TENANT, PROJECT, "sts")

    def test_that_is_not_there_or_none_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(TokenUnavailable, match="cannot be read"):
            ProjectedToken(tmp_path / "none").token(TENANT, PROJECT, AUDIENCE)
        (tmp_path / "token").write_text("hello")
        with pytest.raises(TokenUnavailable, match="this is no token"):
            ProjectedToken(tmp_path / "token").token(TENANT, PROJECT, AUDIENCE)
