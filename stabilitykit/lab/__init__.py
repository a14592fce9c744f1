"""What builds, trains, compares and prices transformers, watched by the instruments beside it."""
