"""What will go wrong with a table, told before training."""
