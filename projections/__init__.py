"""What is remembered: the read models, each a table made from the log's events alone. To add one: its file, a row in
PROJECTIONS, its table in `tables` and a migration."""

from typing import Final

from projections.adjustments import USAGE_ADJUSTMENTS
from projections.archive import ARCHIVE
from projections.audit import AUDIT
from projections.conversations import CONVERSATIONS
from projections.erased import ERASED
from projections.projection import Projection
from projections.requests import REQUESTS
from projections.responses import RESPONSES
from projections.usage import USAGE

PROJECTIONS: Final[tuple[Projection, ...]] = (
    REQUESTS,
    RESPONSES,
    USAGE,
    USAGE_ADJUSTMENTS,
    CONVERSATIONS,
    AUDIT,
    ERASED,
    ARCHIVE,
)
