"""The benchmark is tested for what it counts, never for how fast anything is."""
