"""A check of the words in documents, docstrings, comments and messages."""
