"""The timetables that come with drivetrain: ``cron``, ``every``, ``at``."""

from drivetrain.drivers.timetables.kinds import At, Cron, Every, make_timetable

__all__ = ["At", "Cron", "Every", "make_timetable"]
