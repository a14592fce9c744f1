"""The command line of stabilitykit. Results on stdout, progress on stderr."""
