"""Fetching images by their addresses."""
