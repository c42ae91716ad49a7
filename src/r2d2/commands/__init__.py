"""The command groups: each command a few lines that call the rooms."""
