"""What can be done to each kind: one generic path, and a strategy where a kind has rules of its own."""
