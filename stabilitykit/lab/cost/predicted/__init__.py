"""What a transformer computes, moves and keeps, from its configuration alone."""
