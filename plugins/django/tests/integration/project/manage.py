"""The command of the example project: ``python manage.py migrate``, then ``python manage.py drivetrain worker``."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront_settings")
    execute_from_command_line(sys.argv)
