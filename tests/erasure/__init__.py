"""Accounts that are erased, and the proof of it."""
