"""A child for the supervisor's tests: `stand_in.py [die] [stubborn] [family]`, each word a habit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from app import ready

LIFE_S = 60
"""Longer than any test; a child that outlives its test is found by it."""

if __name__ == "__main__":
    habits = sys.argv[1:]
    if "die" in habits:
        sys.exit("I cannot begin")
    if "stubborn" in habits:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "family" in habits:
        child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LIFE_S})"])
        sys.stdout.write(f"my child is {child.pid}\n")
    else:
        sys.stdout.write("I begin\n")
    ready.announce()
    time.sleep(LIFE_S)
