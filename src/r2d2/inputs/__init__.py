"""What people hand in: text of any encoding, rows of any format, values of any type."""
