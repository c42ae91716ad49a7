"""Reading of users' files: text in any encoding, rows of any table, values of any type."""
