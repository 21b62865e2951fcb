"""The capability report: what the declared capabilities of drivers mean for users, in plain words. Pure.

``drivetrain describe`` prints it for an app, and the page on guarantees contains it for every driver.

Third-party drivers declare capabilities too. A value that this version of drivetrain does not know is shown as it is,
and promises nothing.
"""

from drivetrain.cli.capability_report.backend import of_backend
from drivetrain.cli.capability_report.broker import of_broker
from drivetrain.cli.capability_report.pair import of_pair
from drivetrain.cli.capability_report.statements import Section, Statement

__all__ = ["Section", "Statement", "of_backend", "of_broker", "of_pair"]
