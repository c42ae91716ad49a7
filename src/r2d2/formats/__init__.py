"""Other formats of image-text pairs, in and out; one registry for all."""
