"""Settings are read once, strictly, and keep their secrets to themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from process.secret import Secret
from process.settings import SettingInvalid, Settings


class TestFromEnvironment:
    def test_has_a_default_for_everything(self) -> None:
        settings = Settings.from_environment({})

        assert (settings.port, settings.functions_port, settings.host) == (8000, 8001, "127.0.0.1")
        assert settings.data_dir == Path.cwd() / ".dcf"
        assert settings.toolchains == Path.cwd() / ".dcf" / "toolchain"

    def test_takes_an_empty_variable_for_unset(self) -> None:
        assert Settings.from_environment({"DCF_PORT": " ", "DCF_DATABASE_URL": ""}) == Settings.from_environment({})

    def test_looks_at_nothing_that_is_not_ours(self) -> None:
        assert Settings.from_environment({"PORT": "1"}) == Settings.from_environment({})

    def test_is_given_on_unchanged(self) -> None:
        settings = Settings.from_environment(
            {"DCF_DATABASE_URL": "postgresql://u:p@h/d", "DCF_DATABASE_DURABLE": "false", "DCF_PORT": "0"}
        )

        assert Settings.from_environment(settings.to_environment()) == settings

    @pytest.mark.parametrize(
        ("variable", "text", "remedy"),
        [
            ("DCF_PORT", "http", "port number"),
            ("DCF_PORT", "65536", "port number"),
            ("DCF_RUNNER_PORT", "-1", "port number"),
            ("DCF_POOL_SIZE_MAX", "0", "whole number from 1"),
            ("DCF_WAIT_SECONDS_MAX", "0", "seconds above 0"),
            ("DCF_DATABASE_DURABLE", "perhaps", "true or false"),
            ("DCF_LOG_FORMAT", "xml", "one of auto, text, json"),
        ],
    )
    def test_names_the_variable_and_the_remedy(self, variable: str, text: str, remedy: str) -> None:
        with pytest.raises(SettingInvalid, match=f"{variable}: .*{remedy}") as refused:
            Settings.from_environment({variable: text})

        assert refused.value.variable == variable


class TestSecret:
    def test_hides_itself_wherever_it_is_shown(self) -> None:
        settings = Settings(database_url=Secret("postgresql://dcf:hunter2@host/dcf"), master_key=Secret("hunter2"))

        assert "hunter2" not in f"{settings} {settings!r} {settings.master_key} {settings.master_key!r}"

    def test_is_told_to_who_asks_by_name(self) -> None:
        assert Secret("hunter2").reveal() == "hunter2"
