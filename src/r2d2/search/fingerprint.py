"""Which model made a vector; see `r2d2.fingerprint`, which rooms without search use too."""

from r2d2.fingerprint import fingerprint

__all__ = ["fingerprint"]
