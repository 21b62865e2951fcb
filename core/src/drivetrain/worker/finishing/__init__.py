"""What follows a run: its result is recorded, its effects are performed, and its message is settled."""
