"""Models of ours in other people's libraries: sentence-transformers, mteb, CLIP_benchmark, peft."""
