"""The click log: reading it, its sums per image and query, their rates, and what ranks."""
