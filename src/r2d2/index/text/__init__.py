"""Texts and queries: `terms` of a text, `words` to search by them, `reading` of a query."""
