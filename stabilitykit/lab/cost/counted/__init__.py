"""What a step of any model computes and moves: counted operator by operator while it runs once."""
