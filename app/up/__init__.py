"""`helix up`: everything on one machine. One rule: whatever it started ends with it, and what it kept is found again."""
