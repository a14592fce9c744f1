"""What runs while a model trains: the monitor, and the ways to attach it to a loop or a trainer."""
