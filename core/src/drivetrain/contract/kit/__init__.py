"""The driver kit: what several drivers do alike, written once. `drivetrain.contract` exports all of it."""
