"""A model without a table: the page of tasks in the admin, and the permission to see it."""

from __future__ import annotations

from django.db import models

__all__ = ["TaskPage"]


class TaskPage(models.Model):
    """Stands for the tasks, which are in the backend of drivetrain and not in the database."""

    class Meta:
        """Options of the model."""

        managed = False
        default_permissions = ("view",)
        verbose_name = "task"
        verbose_name_plural = "tasks"
