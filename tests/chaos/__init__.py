"""Random faults under random workflows, on real servers and with real workers: ``make chaos``."""
