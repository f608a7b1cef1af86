"""The part of an export that people read: one HTML page, every word of theirs escaped, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.3rem;text-align:left;"
    "vertical-align:top;overflow-wrap:anywhere}pre{white-space:pre-wrap;margin:0}"
)


@dataclass(frozen=True, slots=True)
class Page:
    """What stands above the conversations."""

    account: str
    people: Sequence[Mapping[str, Any]]
    keys: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]
    """File → how many rows are in it."""
    unopened: int
    """Sealed values that could not be opened: they were damaged, or their key is gone."""


async def written(page: Page, messages: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    """The page, piece by piece. `messages`: newest conversation first, newest first within it."""
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Your data</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><h1>Your data</h1><p>Everything that the account "
        f"<code>{escape(page.account)}</code> holds. The files beside this page hold all of it, as JSON.</p>"
    ).encode()
    for person in page.people:
        yield f"<h2>You</h2>{_table(person.items())}".encode()
    yield f"<h2>Files</h2>{_table((f'{table}.json', count) for table, count in page.counts.items())}".encode()
    if page.unopened:
        yield f"<p>{page.unopened} sealed values could not be opened; they are null in the files.</p>".encode()
    for key in page.keys:
        yield f"<h2>API key {escape(str(key['key_prefix']))}</h2>{_table(key.items())}".encode()
    yield b"<h2>Conversations</h2><table><tr><th>When</th><th>Where</th><th>Who</th><th>What</th></tr>"
    async for one in messages:
        cells = (one["created_at"], one["conversation_id"], one["role"])
        said = one["content"] if isinstance(one["content"], str) else str(one["content"])
        yield f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)}<td><pre>{escape(said)}</pre></td></tr>".encode()
    yield b"</table></body></html>\n"


def _table(rows: Any) -> str:  # Any: pairs of a name and whatever JSON holds
    lines = (f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>" for name, value in rows)
    return f"<table>{''.join(lines)}</table>"
