"""Rescue: finds tasks whose message is gone, and ends them as lost.

A task continues when its message is delivered. If the message is gone (an operator deleted a queue, a disk was restored
from a backup), callers would wait for it without end. A rescue finds overdue tasks and searches the queues for their
messages several times. The pause between two searches is longer than any consumer holds a message before it starts. A
task whose message is missing in all searches is ended. If the result is uncertain, the rescue only reports why.
"""
