"""The master key and the keys made from it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from process.master_key import KEY_BYTES, MasterKeyUnusable, key_for, master_key
from process.secret import Secret
from process.settings import Settings


class TestMasterKey:
    def test_is_made_once_and_for_this_user_alone(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path / "data")

        with ThreadPoolExecutor() as threads:
            keys = set(threads.map(lambda _: master_key(settings), range(8)))

        assert len(keys) == 1
        assert stat.S_IMODE((tmp_path / "data" / "master.key").stat().st_mode) == 0o600

    def test_is_the_operators_where_one_is_given(self, tmp_path: Path) -> None:
        given = Secret("x" * 40)

        assert master_key(Settings(data_dir=tmp_path, master_key=given)) == given
        assert not (tmp_path / "master.key").exists()

    def test_a_short_one_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MasterKeyUnusable, match="DCF_MASTER_KEY"):
            master_key(Settings(data_dir=tmp_path, master_key=Secret("short")))
        (tmp_path / "master.key").write_text("\n")
        with pytest.raises(MasterKeyUnusable, match=r"master\.key"):
            master_key(Settings(data_dir=tmp_path))


class TestKeyFor:
    def test_is_always_the_same_for_one_master_key(self) -> None:
        one, other = Secret("a" * 40), Secret("b" * 40)

        assert key_for(one, "person-keys") == key_for(one, "person-keys")
        assert key_for(one, "person-keys") != key_for(other, "person-keys")
        assert len(key_for(one, "person-keys")) == KEY_BYTES
