"""Acting on many tasks: cancel, retry, run now, and replay or drop dead letters.

An action on one task is a function of its id. An operation does it for many tasks, page by page, in the process that
asked or in a worker. Its progress is a versioned value, so that another process goes on after a crash.
"""
