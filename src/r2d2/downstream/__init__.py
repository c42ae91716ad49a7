"""Sets for downstream tasks, made of a pairs table, and the people who label and translate them."""
