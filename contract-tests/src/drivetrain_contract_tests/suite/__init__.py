"""The tests that ``drivetrain-contract`` runs: what a driver's author would write, for URLs given as options."""
