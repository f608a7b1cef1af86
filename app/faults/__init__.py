"""`./helix faults`: break a running Helix on purpose, by a seed, and compare what it promised with what is there.

One rule: nothing here is imported by the product; it is asked over HTTP like by anybody, and broken from outside.
"""
