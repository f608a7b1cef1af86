"""Everything that an account holds, in one file for it."""
