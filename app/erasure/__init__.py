"""Accounts that want to be forgotten: asked for, taken back in time, carried out once, and proven.

`wishes` is what the doors ask for, `carrying_out` the one transaction that destroys, `clearing` what log server and cache
held, `keeper` the projector's task that does both when it is time. `places` says where an account's data lies at all.
"""
