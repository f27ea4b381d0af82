"""Notes, checkpoints and verifier keys, against the examples of C2SP and whatever is not one."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventstore.tree.merkle import ProofInvalid, leaf_hash
from eventstore.tree.notes import Checkpoint, NoteInvalid, VerifierKey, opened, sign
from eventstore.tree.proofs import EventProof
from tests.eventstore.tree import textbook

# The example of C2SP signed-note.
KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
NAME = "example.com/log"
OLD, NEW = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
CHECKPOINT = Checkpoint(NAME, 1, leaf_hash(b"event"))


def key_of(private: Ed25519PrivateKey) -> VerifierKey:
    return VerifierKey.of(NAME, private)


class TestExample:
    def test_is_opened_by_its_key(self) -> None:
        assert opened(NOTE, [VerifierKey.parse(KEY)]) == "This is an example message.\n"

    def test_has_the_key_s_text(self) -> None:
        assert VerifierKey.parse(KEY).text == KEY

    @pytest.mark.parametrize("changed", [NOTE.replace("example m", "Example m"), NOTE.replace("aQM=", "aQI=")])
    def test_is_not_opened_when_it_was_changed(self, changed: str) -> None:
        with pytest.raises(NoteInvalid):
            opened(changed, [VerifierKey.parse(KEY)])


class TestSign:
    def test_makes_a_checkpoint_that_the_textbook_takes(self) -> None:
        note = sign(CHECKPOINT.text, NAME, [OLD])

        assert textbook.root_signed(note, key_of(OLD).text) == (NAME, 1, CHECKPOINT.root)
        assert Checkpoint.parse(opened(note, [key_of(OLD)])) == CHECKPOINT

    def test_with_two_keys_whoever_knows_one_of_them_takes_it(self) -> None:
        note = sign(CHECKPOINT.text, NAME, [OLD, NEW])

        assert opened(note, [key_of(OLD)]) == opened(note, [key_of(NEW)]) == CHECKPOINT.text

    def test_a_stranger_s_key_opens_nothing(self) -> None:
        with pytest.raises(NoteInvalid, match="by no key that was given"):
            opened(sign(CHECKPOINT.text, NAME, [OLD]), [key_of(NEW)])

    def test_nor_does_the_key_under_another_name(self) -> None:
        with pytest.raises(NoteInvalid):
            opened(sign(CHECKPOINT.text, NAME, [OLD]), [VerifierKey.of("example.com/other", OLD)])


@pytest.mark.parametrize(
    "text", ["", "x", "x\n\n", "a\n\nb\n", "a\n\n— b\n", "a\n\n— b c\n", "a\x07\n" + NOTE, NOTE[:-1]]
)
def test_what_is_no_note_is_told(text: str) -> None:
    with pytest.raises(NoteInvalid):
        opened(text, [VerifierKey.parse(KEY)])


@pytest.mark.parametrize("text", ["", "a+b", "a+00000000+AQ==", KEY.replace("530d903a", "530d903b"), KEY[:-4] + "===="])
def test_what_is_no_key_is_told(text: str) -> None:
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(text)


@pytest.mark.parametrize(
    "text", ["", "a\n1\n", "a\n01\n" + "A" * 43 + "=\n", "\n1\n" + "A" * 43 + "=\n", "a\n1\nAA==\n"]
)
def test_what_is_no_checkpoint_is_told(text: str) -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text)


class TestEventProof:
    PROOF = EventProof(index=0, path=(), checkpoint=sign(CHECKPOINT.text, NAME, [OLD]), event=b"event")

    @pytest.mark.parametrize("path", [(), (b"x" * 32, b"y" * 32)])
    @pytest.mark.parametrize("event", [b"", b"event"])
    def test_reads_what_it_writes(self, path: tuple[bytes, ...], event: bytes) -> None:
        proof = EventProof(index=7, path=path, checkpoint=self.PROOF.checkpoint, event=event)

        assert EventProof.parse(proof.text) == proof

    def test_proves_its_event_and_no_other(self) -> None:
        assert self.PROOF.check(b"event", [key_of(OLD)]) == CHECKPOINT
        with pytest.raises(ProofInvalid, match="the event is another one"):
            self.PROOF.check(b"Event", [key_of(OLD)])

    @pytest.mark.parametrize(
        "text", ["", "c2sp.org/tlog-proof@v1\nindex 01\n\nx", "c2sp.org/tlog-proof@v1\nindex 1\n?\n\nx", "index 1\n\nx"]
    )
    def test_what_is_none_is_told(self, text: str) -> None:
        with pytest.raises(ProofInvalid):
            EventProof.parse(text)
