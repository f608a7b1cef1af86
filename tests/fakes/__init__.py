"""Stand-ins for the outside world, written by hand."""
