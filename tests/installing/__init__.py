"""Installing only what is needed: wheels in empty environments."""
