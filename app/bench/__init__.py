"""The bench: what a request costs here, side by side with what it costs elsewhere, in one run on one machine."""
