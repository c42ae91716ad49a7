"""The tokenizer of a Hugging Face dual encoder: its tokenizer.json and its special tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Engine

from r2d2.config import HfTowersConfig, ModelConfig
from r2d2.errors import R2D2Error
from r2d2.model.hf_towers import family_of
from r2d2.tokenizer import UNK, Tokenizer, read_engine


class HfTokenizer(Tokenizer):
    """Texts to ids as the towers were trained on them; used as any `Tokenizer`."""

    def __init__(self, engine: Engine, roles: HfTowersConfig) -> None:
        self.roles = roles
        self.max_length = roles.length
        self.pad_id, self.mask_id = roles.pad_id, roles.mask_id
        self.special_ids = frozenset(roles.special_ids)
        vocab: dict[str, int] = engine.get_vocab()
        self.vocab_size = 1 + max(vocab.values())
        self.unk_id = unknown_id(vocab)
        engine.enable_truncation(self.max_length)
        pad = engine.id_to_token(self.pad_id)
        if pad is None:
            raise R2D2Error(f"the tokenizer has no token {self.pad_id} to pad with")
        engine.enable_padding(pad_id=self.pad_id, pad_token=pad)
        self._engine = engine

    def __getstate__(self) -> Any:
        return self._engine.to_str(), self.roles

    def __setstate__(self, state: Any) -> None:
        self.__init__(Engine.from_str(state[0]), state[1])  # type: ignore[misc]


def load_tokenizer(path: Path, config: ModelConfig) -> Tokenizer:
    """The tokenizer saved with a model.

    Raises:
        R2D2Error: there is none, or it is another model's.
    """
    hf_towers = config.hf_towers
    if hf_towers is None or family_of(hf_towers.kind).bert_vocabulary:
        return Tokenizer.load(path)
    return HfTokenizer(read_engine(path), hf_towers)


def unknown_id(vocab: Mapping[str, int]) -> int:
    """The id of the token for unknown characters; -1: there is none (byte-level tokenizers)."""
    return next((vocab[token] for token in (UNK, "<unk>") if token in vocab), -1)
