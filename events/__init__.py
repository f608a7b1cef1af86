"""What is said: every command and event of Helix, one file a topic. This room knows no wire, no clock and no database."""
