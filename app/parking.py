"""How much a worker may put away before it must doubt itself rather than the commands.

One rule: a dead letter in fifty is borne; far more means that we are wrong, and then what is not put away is not lost.
"""

from __future__ import annotations

from typing import Final

PARKED_MAX: Final = 20
"""In a row. One bad client or a handful of poisoned commands stay below; a version that cannot read what is sent, or a key
that opens nothing, is there within a second."""

ENDED_A_PARKED: Final = 50
"""So many commands that ended make up for one that was put away: a share above 2 % is never borne for long."""


class Parking:
    """The count of one process. What is put away adds to it, what ends takes from it."""

    def __init__(self) -> None:
        self._owed = 0
        """Commands that have to end before nothing is owed any more."""

    def one_more(self) -> bool:
        """Whether one more may be put away; it is counted then."""
        if self._owed > (PARKED_MAX - 1) * ENDED_A_PARKED:
            return False
        self._owed += ENDED_A_PARKED
        return True

    def ended(self) -> None:
        """A command was carried out to its end, whichever that was."""
        self._owed = max(0, self._owed - 1)
