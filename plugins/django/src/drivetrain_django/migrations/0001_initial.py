"""The permission to see tasks in the admin. It makes no table."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """See `drivetrain_django.models`."""

    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [
        migrations.CreateModel(
            name="TaskPage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={
                "verbose_name": "task",
                "verbose_name_plural": "tasks",
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
