"""What reads a run that has ended, or follows the log of one that has not. No torch."""
