"""A process listens before it starts anything, says who is in its way, and writes its choice down."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from process import ports
from process.ports import AddressUnusable, PortTaken


class TestListen:
    def test_takes_a_free_port_for_0(self) -> None:
        with ports.listen("127.0.0.1", 0, variable="DCF_PORT") as listener:
            assert listener.getsockname()[1] > 0

    def test_says_who_has_the_port_and_what_chooses_another(self) -> None:
        with ports.listen("127.0.0.1", 0, variable="DCF_PORT") as listener:
            port = listener.getsockname()[1]

            with pytest.raises(PortTaken, match=rf"port {port} .*process {os.getpid()} \(.*python.*DCF_RUNNER_PORT"):
                ports.listen("127.0.0.1", port, variable="DCF_RUNNER_PORT")

    def test_says_when_the_address_is_not_this_machines(self) -> None:
        with pytest.raises(AddressUnusable, match=r"203\.0\.113\.1.*DCF_HOST"):
            ports.listen("203.0.113.1", 0, variable="DCF_PORT")


class TestListenAgain:
    def test_is_where_it_was(self, tmp_path: Path) -> None:
        with ports.listen_again("127.0.0.1", 0, variable="DCF_PORT", name="api", data_dir=tmp_path) as listener:
            before = listener.getsockname()[1]
        with ports.listen_again("127.0.0.1", 0, variable="DCF_PORT", name="api", data_dir=tmp_path) as listener:
            assert listener.getsockname()[1] == before

    def test_goes_elsewhere_when_that_is_taken(self, tmp_path: Path) -> None:
        with ports.listen("127.0.0.1", 0, variable="DCF_PORT") as other:
            ports.record(tmp_path, {"api": other.getsockname()[1]})

            with ports.listen_again("127.0.0.1", 0, variable="DCF_PORT", name="api", data_dir=tmp_path) as listener:
                chosen = listener.getsockname()[1]

        assert ports.recorded(tmp_path) == {"api": chosen}

    def test_a_second_one_does_not_take_the_place_of_the_first(self, tmp_path: Path) -> None:
        """*Goal:* what is written down leads to a process that is there, whichever of several ends first."""

        def listen() -> socket.socket:
            return ports.listen_again("127.0.0.1", 0, variable="DCF_PORT", name="api", data_dir=tmp_path)

        with listen() as first:
            port = first.getsockname()[1]
            with listen():
                assert ports.recorded(tmp_path) == {"api": port}
            assert ports.recorded(tmp_path) == {"api": port}
        with listen(), ports.listen("127.0.0.1", 0, variable="DCF_PORT"):
            assert ports.recorded(tmp_path) == {"api": port}


class TestRecord:
    def test_forgets_nobody_when_many_write_at_once(self, tmp_path: Path) -> None:
        names = [f"process-{n}" for n in range(20)]
        writers = [threading.Thread(target=ports.record, args=(tmp_path, {name: 1})) for name in names]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()

        assert sorted(ports.recorded(tmp_path)) == sorted(names)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ports.json", "ports.lock"]

    def test_is_empty_at_first_and_once_forgotten(self, tmp_path: Path) -> None:
        assert ports.recorded(tmp_path) == {}
        ports.record(tmp_path, {"api": 1})
        ports.forget(tmp_path)
        assert ports.recorded(tmp_path) == {}
