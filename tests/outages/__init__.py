"""What is away, full, locked, broken or out of time, and what a Helix does then; the long forms are `./helix faults`."""
