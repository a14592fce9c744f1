"""What is behind docs/cost.md."""
