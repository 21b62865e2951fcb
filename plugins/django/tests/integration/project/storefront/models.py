"""Orders, with the id of the task that handles each."""

from django.db import models


class Order(models.Model):
    total = models.IntegerField()
    task_id = models.CharField(max_length=64, blank=True)
    paid = models.BooleanField(default=False)

    class Meta:
        app_label = "storefront"
