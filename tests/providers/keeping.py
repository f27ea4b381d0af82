"""What everything that keeps files in a project's storage promises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from providers import files
from providers.provider import KeepsFiles, Place


async def check_keeping(keeper: KeepsFiles, place: Place) -> None:
    """Put, find, list and take away; nothing is overwritten, and every verb may be repeated."""
    folder = files.folder(place.tenant_id, place.project_id)
    name = f"{folder}{'0' * 64}"
    assert await keeper.read_file(place, name, bytes_max=10) is None

    assert await keeper.put_file(place, name, b"void main() {}\n") is True
    assert await keeper.put_file(place, name, b"something else\n") is False
    assert await keeper.put_file(place, f"{folder}1", b"another\n") is True
    found = await keeper.read_file(place, name, bytes_max=15)
    cut = await keeper.read_file(place, name, bytes_max=4)
    page = await keeper.list_files(place, folder)

    assert found is not None
    assert cut is not None
    assert found.content == b"void main() {}\n"
    assert 4 < len(cut.content) <= 15
    assert abs(datetime.now(UTC) - found.at) < timedelta(minutes=5)
    assert [item.name for item in page.items] == [name, f"{folder}1"]
    assert page.next_cursor == ""
    assert abs(page.items[0].at - found.at) < timedelta(seconds=2)
    for _ in range(2):
        await keeper.remove_file(place, name)
        await keeper.remove_file(place, f"{folder}1")
    assert (await keeper.list_files(place, folder)).items == ()
