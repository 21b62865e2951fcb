"""The broker of drivetrain on RabbitMQ."""
