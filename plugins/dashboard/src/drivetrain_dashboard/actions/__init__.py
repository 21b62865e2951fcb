"""What operators can do: each action with its arguments, the role that it needs, and why a driver may refuse it.

No module here knows HTTP. Forms and ``/api/v1`` perform the same actions.
"""
