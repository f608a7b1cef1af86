"""Facts about what people have agreed to."""

from __future__ import annotations

from typing import ClassVar, Literal

from events.message import Change


class ConsentGiven(Change):
    """A person has agreed to a document in this version."""

    type: ClassVar[str] = "consent.given"

    document: Literal["terms", "privacy", "dpa"]
    document_version: str
