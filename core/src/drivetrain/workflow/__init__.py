"""What users compose and what it means: signatures, chains, groups, chords, and the pure function `advance`."""
