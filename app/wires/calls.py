"""Tool calls of the inner form, whose pieces may come in any order, told one call after the other.

One rule: a call that has begun is told to its end before the next begins. A call whose arguments are not yet whole keeps
the others waiting, at the latest until the answer ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from app.wires import Json, Unsayable


@dataclass(slots=True, eq=False)
class _Call:
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    told: int = 0
    """Of the pieces."""
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """The next thing to say about a call."""

    place: int
    """Which call of the answer, counted from 0 in the order of their first pieces."""
    id: str
    """Empty where the provider gave none."""
    name: str
    begins: bool
    arguments: str


class Calls:
    """The calls of one answer."""

    __slots__ = ("_at", "_by_index", "_order")

    def __init__(self) -> None:
        self._by_index: dict[int, _Call] = {}
        self._order: list[_Call] = []
        self._at = 0
        """Which call is being told."""

    def __bool__(self) -> bool:
        return bool(self._order)

    def take(self, said: Json) -> list[Told]:
        """A piece of a call → what can be told now. Raises Unsayable for a piece of a call that was whole."""
        index, function = said.get("index", 0), said.get("function") or {}
        call = self._by_index.get(index)
        if call is None:
            call = self._by_index[index] = _Call()
            self._order.append(call)
        call.id = call.id or str(said.get("id") or "")
        call.name = call.name or function.get("name") or ""
        if arguments := function.get("arguments"):
            if call in self._order[: self._at] and arguments.strip():
                raise Unsayable("more of a tool call that was whole")
            call.pieces.append(arguments)
        told: list[Told] = []
        while self._at < len(self._order):
            current = self._order[self._at]
            told += self._tell(current)
            if current is self._order[-1] or not _whole(current):
                break
            self._at += 1
        return told

    def end(self) -> list[Told]:
        """What is still to be told when the answer ends. Raises Unsayable where a call has no name."""
        told: list[Told] = []
        while self._at < len(self._order):
            call = self._order[self._at]
            if not call.name:
                raise Unsayable("a tool call without a name")
            told += self._tell(call)
            self._at += 1
        return told

    def _tell(self, call: _Call) -> list[Told]:
        if not call.name:
            return []
        begins, call.begun = not call.begun, True
        arguments, call.told = "".join(call.pieces[call.told :]), len(call.pieces)
        return [Told(self._at, call.id, call.name, begins, arguments)] if begins or arguments else []


def _whole(call: _Call) -> bool:
    """Whether nothing more can come: looked at only when another call has begun."""
    try:
        orjson.loads("".join(call.pieces))
    except orjson.JSONDecodeError:
        return False
    return True
