"""The vocabulary beside published weights: vocab.txt, or the tokenizer.json of the same tokens."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.tokenizer import LONGEST_WORD, Tokenizer

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
    content = _read(path)
    content["truncation"] = {
        "direction": "Right",
        "max_length": max_length,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    if isinstance(content.get("model"), dict):
        content["model"]["max_input_chars_per_word"] = longest_word
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "tokenizer.json"
        cut.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        try:
            return Tokenizer.load(cut)
        except R2D2Error as error:
            raise R2D2Error(str(error).replace(str(cut), str(path))) from error


def write_vocab(tokenizer: Tokenizer, folder: Path) -> list[str]:
    """Write tokenizer.json, and vocab.txt where the ids have no gaps; returns their names.

    vocab.txt alone says nothing of a vocabulary that we trained, which folds full-width forms:
    whoever reads it should prefer tokenizer.json.
    """
    tokenizer.save(folder / "tokenizer.json")
    ids: dict[str, int] = _read(folder / "tokenizer.json")["model"]["vocab"]
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        return ["tokenizer.json"]
    text = "".join(f"{token}\n" for token in tokens)
    (folder / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")
    return ["tokenizer.json", "vocab.txt"]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise R2D2Error(f"{path} is not readable JSON ({error}): give a vocab.txt") from error
    if not isinstance(content, dict):
        raise R2D2Error(f"{path} is no tokenizer.json: give a vocab.txt")
    return content
