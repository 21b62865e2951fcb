"""The broker of drivetrain on Amazon SQS."""
