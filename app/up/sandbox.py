"""The sandbox provider as a child of `up`: `python -m app.up.sandbox FD`. One rule: `up` listens, so nothing is missed."""

import sys

from app import ready
from app.providers import sandbox

if __name__ == "__main__":
    ready.announce()  # the socket listens already; whoever connects from now on is answered
    sandbox.run(None, int(sys.argv[1]))
