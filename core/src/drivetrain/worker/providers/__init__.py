"""Providers: functions that make what a task needs besides its arguments, such as a database session.

A parameter with the default ``provided(open_session)`` is not sent. In each run of the task, the provider is called and
its value is passed. A provider that is a generator is continued when the run has ended.
"""
