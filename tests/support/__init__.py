"""What the tests of the worker share: waiting with a deadline, drivers that fail on purpose, workers to be killed."""
