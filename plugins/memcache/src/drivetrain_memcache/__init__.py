"""Results, groups and locks of drivetrain in Memcached."""
