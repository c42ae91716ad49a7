"""Each thing as such systems are usually written: what ours is measured against."""
