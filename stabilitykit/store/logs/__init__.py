"""store/logs."""
