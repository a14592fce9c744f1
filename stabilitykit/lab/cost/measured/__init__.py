"""What a step takes on this machine: timed as it is, and under torch's profiler, kernel by kernel."""
