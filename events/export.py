"""Facts about exports. What is in them is nobody's business but the account's."""

from __future__ import annotations

from typing import ClassVar

from events.message import Change


class ExportRequested(Change):
    """Somebody wants everything that the account holds, in one file."""

    type: ClassVar[str] = "export.requested"

    export_id: str
