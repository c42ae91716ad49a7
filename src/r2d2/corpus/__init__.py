"""From search click logs to a clean pairs table. This room imports no torch."""
