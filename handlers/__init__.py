"""What is done: one verb-named file a reaction, and `ports`, what they ask of the world. Today there is one, `complete`."""
