"""A backup made while everything runs, put back onto an empty machine."""
