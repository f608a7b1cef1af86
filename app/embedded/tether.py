"""Start a program that dies with us: `tether.py SIGNAL PARENT IDENTITY program …`.

A script of its own, run in a fresh interpreter between fork and exec, because doing this in a `preexec_fn` of a
process with threads can deadlock. SIGNAL goes to the program when PARENT is gone (Linux). IDENTITY is `same`,
`namespace` (Linux root: a user namespace in which we are `nobody`; the disk still sees the owner) or `nobody`.

One rule: standard library only, nothing of Helix.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
NOBODY = 65534


def enter_namespace() -> None:
    """Become `nobody` in a new user namespace where that is root outside. Raises OSError where it is forbidden."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{NOBODY} 0 1"), ("gid_map", f"{NOBODY} 0 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def main() -> None:
    signal, parent, identity, *program = sys.argv[1:]
    if identity == "namespace":
        enter_namespace()
    elif identity == "nobody":
        become_nobody()
    # After the change of identity, which clears it.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent was gone before the program began")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
