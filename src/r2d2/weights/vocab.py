"""The vocabulary beside published weights: vocab.txt, or the tokenizer.json of the same tokens."""

from __future__ import annotations

from pathlib import Path

from tokenizers.models import WordPiece

from r2d2.errors import R2D2Error
from r2d2.tokenizer import LONGEST_WORD, Tokenizer, read_engine

MAX_BYTES = 64 << 20  # of a vocabulary; 21,128 tokens take 110 kB


def read_tokenizer(path: Path, max_length: int, longest_word: int = LONGEST_WORD) -> Tokenizer:
    """A vocab.txt or tokenizer.json as our tokenizer, which cuts texts at `max_length` tokens.

    A word of more than `longest_word` letters becomes [UNK].

    Raises:
        R2D2Error: it is missing, too large, or no BERT vocabulary.
    """
    if not path.is_file():
        raise R2D2Error(f"{path} is missing: give a BERT vocab.txt, or a tokenizer.json")
    if path.stat().st_size > MAX_BYTES:
        raise R2D2Error(f"{path} is larger than {MAX_BYTES >> 20} MiB: it is no vocabulary")
    if path.suffix != ".json":
        return Tokenizer.from_vocab(path, max_length, longest_word)
    engine = read_engine(path)
    engine.enable_truncation(max_length)
    if isinstance(engine.model, WordPiece):
        engine.model.max_input_chars_per_word = longest_word
    return Tokenizer.of(engine, path)


def write_vocab(tokenizer: Tokenizer, folder: Path) -> list[str]:
    """Write tokenizer.json, and vocab.txt where the ids have no gaps; returns their names.

    vocab.txt alone says nothing of a vocabulary that we trained, which folds full-width forms:
    whoever reads it should prefer tokenizer.json.
    """
    tokenizer.save(folder / "tokenizer.json")
    ids: dict[str, int] = tokenizer._engine.get_vocab(with_added_tokens=False)
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        return ["tokenizer.json"]
    text = "".join(f"{token}\n" for token in tokens)
    (folder / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")
    return ["tokenizer.json", "vocab.txt"]
