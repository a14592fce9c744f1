"""What things cost in time and memory: paired ratios, since absolute times say little on a shared machine."""
