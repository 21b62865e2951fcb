"""A thousand ticks under schedulers that are killed, stopped and have wrong clocks, and a service that restarts."""
