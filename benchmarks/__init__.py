"""Measurements of the project by itself: scripts, and `speed`, which `r2d2 bench` runs."""
