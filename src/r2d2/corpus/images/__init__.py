"""Images: the filter of pictures, hashes, duplicates, and the similarity to their texts."""
