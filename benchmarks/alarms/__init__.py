"""How early each finding and each internal signal warns, and how often falsely, on labelled runs."""
