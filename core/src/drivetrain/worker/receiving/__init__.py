"""What precedes a run: its message is read, and its start is recorded. Other deliveries are settled at once."""
