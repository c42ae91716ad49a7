"""The model in front of people: vectors beside the rows, two-stage search, a server, a page."""
