"""The client's wires: what is put in the inner form, what comes out of it, and what every provider makes of each."""
