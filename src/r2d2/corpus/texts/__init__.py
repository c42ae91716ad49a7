"""Texts: one spelling, and the rules by which they are kept."""
