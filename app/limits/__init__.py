"""How much an account may ask for and spend: what its rows say, what is counted on the log server, and how the two are kept
the same."""
