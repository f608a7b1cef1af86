"""Log lines leave together, in their order, and what warns leaves at once."""

from __future__ import annotations

import asyncio
import io

from app.lines import LINES_MAX, Lines


class File(io.BytesIO):
    """Counts the writes that would reach the system."""

    flushes = 0

    def flush(self) -> None:
        self.flushes += 1


async def test_lines_of_one_moment_leave_in_one_write() -> None:
    file = File()
    lines = Lines(file)
    for line in (b"one", b"two", b"three"):
        lines.info(line)
    assert file.getvalue() == b""

    async with asyncio.timeout(10):
        while not file.getvalue():  # noqa: ASYNC110  # it is the loop that writes
            await asyncio.sleep(0.01)

    assert (file.getvalue(), file.flushes) == (b"one\ntwo\nthree\n", 1)


async def test_a_warning_leaves_at_once_behind_what_was_said_before() -> None:
    file = File()
    lines = Lines(file)
    lines.info(b"before")
    lines.warning(b"look")
    assert file.getvalue() == b"before\nlook\n"

    lines.error(b"and here")
    assert file.getvalue() == b"before\nlook\nand here\n"


async def test_only_so_many_lines_wait() -> None:
    file = File()
    lines = Lines(file)
    for number in range(LINES_MAX):
        lines.info(b"%d" % number)
    assert file.getvalue().splitlines() == [b"%d" % number for number in range(LINES_MAX)]


async def test_another_thread_does_not_wait() -> None:
    file = File()
    lines = Lines(file)
    await asyncio.to_thread(lines.info, b"from elsewhere")
    assert file.getvalue() == b"from elsewhere\n"


def test_without_a_loop_a_line_leaves_at_once() -> None:
    file = File()
    Lines(file).info(b"here")
    assert file.getvalue() == b"here\n"
