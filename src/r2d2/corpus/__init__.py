"""From search click logs to a clean pairs table. This package imports no torch."""
