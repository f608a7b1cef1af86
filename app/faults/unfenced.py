"""A worker whose fence is taken down, for the control run that must fail: `python -m app.faults.unfenced`.

It is an ordinary worker, but its finish script asks nobody whether the command is still its own, and it hears from no
renewal that it is not. One rule: only the campaign starts it; nothing in the product can be told to be like this.
"""

from __future__ import annotations

import hashlib
import re

from app import worker
from app.log import log

FENCE = re.compile(rb"^local pending = .*\n^if not pending .* then return false end\n", re.MULTILINE)


def take_down() -> None:
    """Replace the two scripts before any connection loads them. Raises SystemExit when there is no fence to be found."""
    finish, found = FENCE.subn(b"", log._SCRIPTS["finish"])
    if found != 1:
        raise SystemExit("the finish script has no fence that could be taken down: the control run would prove nothing")
    renew = log._SCRIPTS["renew"].replace(b"= '!'", b"= ''")
    for name, body in (("finish", finish), ("renew", renew)):
        log._SCRIPTS[name] = body
        log._DIGESTS[name] = hashlib.sha1(body, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    take_down()
    worker.run()
