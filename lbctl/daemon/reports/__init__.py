"""What the daemon tells of its state, for people and scripts."""
