"""Histories and evidence as values, for the checker: each test changes one thing of a story in which all is well."""

from __future__ import annotations

from app.faults.evidence import Evidence, Live, Row, Terminal
from app.faults.history import Call, Frame

ACCOUNT = "0b0d9bd4-4b8e-4c8e-9f0a-5c3f3a7d1f11"


def words(count: int, question: str = "q1", call: int = 1, start: int = 0) -> str:
    return "".join(f"{question}.c{call}.{place} " for place in range(start, start + count))


def call(**more: object) -> Call:
    """A client that waited for three words and got them."""
    told: dict[str, object] = {
        "kind": "plain",
        "account": "developer",
        "question": "q1",
        "words": 3,
        "began_s": 0.0,
        "ended_s": 1.0,
        "statuses": (200,),
        "promised": ("req_1",),
        "seen": "completed",
        "final": words(3),
    }
    return Call.model_validate(told | more)


def followed(*frames: Frame, final: str, **more: object) -> Call:
    """A client that followed the events."""
    return call(kind="resumed", statuses=(202, 200, 200), frames=frames, final=final, **more)


def word(id: str, text: str) -> Frame:
    return Frame(id=id, kind="word", text=text)


def terminal(**more: object) -> Terminal:
    told: dict[str, object] = {
        "entry": "1-0",
        "event": "e1",
        "request": "req_1",
        "account": ACCOUNT,
        "outcome": "completed",
        "why": None,
        "billable": True,
        "cost_nanousd": 19,
        "calls": 1,
    }
    return Terminal.model_validate(told | more)


def row(**more: object) -> Row:
    told: dict[str, object] = {"event": "e1", "request": "req_1", "account": ACCOUNT, "cost_nanousd": 19}
    return Row.model_validate(told | more)


def evidence(**more: object) -> Evidence:
    """One request that ended well."""
    told: dict[str, object] = {
        "drained": True,
        "commands_left": 0,
        "pending_left": 0,
        "open_left": 0,
        "terminals": (terminal(),),
        "usage": (row(),),
        "requests": (row(),),
        "live": (Live(request="req_1", attempts=(1,), ends=(1,)),),
        "parked": (),
        "rebuilt": (),
        "asked": {"q1": 1},
    }
    return Evidence.model_validate(told | more)
