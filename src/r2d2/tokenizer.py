"""WordPiece as BERT-Chinese does it, and the key by which two texts count as the same.

`bert-base-chinese` and RoBERTa-wwm-ext lower-case, set every CJK character apart and split the rest
into pieces (Devlin et al., arXiv 1810.04805). `Tokenizer.from_vocab` reads their `vocab.txt`;
`Tokenizer.train` makes a small vocabulary of the same kind for presets that start from nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import string
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as Engine
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from r2d2.errors import R2D2Error
from r2d2.inputs.encoding import as_utf8

if TYPE_CHECKING:
    import torch

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (
    PAD,
    UNK,
    CLS,
    SEP,
    MASK,
)  # in BERT's order; a trained vocabulary gives them ids 0 to 4
MAX_LENGTH = 64  # tokens, [CLS] and [SEP] included (official code)
LONGEST_WORD = 100  # letters; a longer word is [UNK] (transformers, and so the official code)
PREFIX = "##"  # of a piece that continues a word


class Tokenizer:
    """Texts to token ids and back; built by `train`, `from_vocab` or `load`. Picklable."""

    def __init__(self, engine: Engine) -> None:
        vocab: dict[str, int] = engine.get_vocab()
        missing = [token for token in SPECIAL_TOKENS if token not in vocab]
        if missing:
            raise R2D2Error(
                f"the vocabulary lacks {', '.join(missing)}: give one of the BERT kind, "
                f"which holds {' '.join(SPECIAL_TOKENS)}"
            )
        self.max_length: int = (engine.truncation or {}).get("max_length", MAX_LENGTH)
        if self.max_length < 3:
            raise R2D2Error(
                f"max_length is {self.max_length}: [CLS], a token and [SEP] need at least 3"
            )
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            vocab[token] for token in SPECIAL_TOKENS
        )
        self.special_ids: frozenset[int] = frozenset(vocab[token] for token in SPECIAL_TOKENS)
        self.vocab_size: int = 1 + max(vocab.values())
        engine.enable_truncation(self.max_length)
        engine.enable_padding(pad_id=self.pad_id, pad_token=PAD)
        # A user who types "[MASK]" means these six characters. The file does not keep this switch.
        engine.encode_special_tokens = True
        self._engine = engine

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8192,
        max_length: int = MAX_LENGTH,
        min_frequency: int = 1,
    ) -> Tokenizer:
        """Learn a vocabulary; equal texts, in any order, give equal ids.

        It holds every character of `texts` and the letters and digits of ASCII, alone and inside a
        word, even where that is more than `vocab_size`; what room is left goes to longer pieces
        seen `min_frequency` times. Full-width forms are first folded to half-width (NFKC), as
        `text_key` does.
        """
        normalizer, splitter = _normalizer(fold_width=True), pre_tokenizers.BertPreTokenizer()
        words: Counter[str] = Counter()
        for text in texts:
            pieces = splitter.pre_tokenize_str(normalizer.normalize_str(text))
            words.update(word for word, _ in pieces)
        characters = sorted({*string.ascii_lowercase, *string.digits, *"".join(words)})
        # Punctuation and CJK characters always stand alone; the others also occur inside words.
        inner = [c for c in characters if len(splitter.pre_tokenize_str(_apart("a" + c))) == 1]
        # Handed over as "special", their ids do not depend on the order in which the trainer's hash
        # map yields words; with the ids, ties between merges are settled: it is deterministic.
        fixed = [*SPECIAL_TOKENS, *characters, *(PREFIX + c for c in inner)]
        learner = Engine(models.WordPiece(unk_token=UNK))
        learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        learner.train_from_iterator(
            (" ".join([word] * count) for word, count in sorted(words.items())),
            trainers.WordPieceTrainer(
                vocab_size=max(vocab_size, len(fixed)),
                min_frequency=min_frequency,
                special_tokens=fixed,
                show_progress=False,
                continuing_subword_prefix=PREFIX,
            ),
        )
        return cls(_engine(learner.get_vocab(), max_length, fold_width=True))

    @classmethod
    def from_vocab(
        cls, path: str | Path, max_length: int = MAX_LENGTH, longest_word: int = LONGEST_WORD
    ) -> Tokenizer:
        """Read a BERT `vocab.txt`, one token a line; ids are line numbers from 0.

        A word of more than `longest_word` letters becomes [UNK].

        Raises R2D2Error on a file that is missing, in no known encoding, holds a token twice or
        lacks a special one.
        """
        vocab: dict[str, int] = {}
        try:
            with Path(path).open("rb") as stream:
                text = io.TextIOWrapper(as_utf8(stream, path), encoding="utf-8")
                for index, line in enumerate(text):  # not splitlines(): U+2028 may be a token
                    token = line.rstrip("\n")
                    if vocab.setdefault(token, index) != index:
                        raise R2D2Error(
                            f"{path}, line {index + 1}: token {token!r} stands on line "
                            f"{vocab[token] + 1} too; give a BERT vocab.txt, one token a line"
                        )
        except OSError as error:
            raise R2D2Error(
                f"cannot read vocabulary {path}: {error.strerror}; give a BERT vocab.txt"
            ) from error
        except UnicodeDecodeError as error:
            raise R2D2Error(
                f"{path} is not UTF-8 text: give a BERT vocab.txt, one token a line"
            ) from error
        try:
            return cls(_engine(vocab, max_length, longest_word, fold_width=False))
        except R2D2Error as error:
            raise R2D2Error(f"{path}: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read what `save` wrote; R2D2Error on anything else."""
        try:
            content = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise R2D2Error(
                f"cannot read tokenizer {path}: {error.strerror}; give a tokenizer.json"
            ) from error
        except UnicodeDecodeError as error:
            raise R2D2Error(
                f"{path} is not UTF-8 text: give the tokenizer.json of a checkpoint"
            ) from error
        try:
            engine = Engine.from_str(content)
        except Exception as error:  # the engine raises bare Exception
            raise R2D2Error(
                f"{path} is no tokenizer ({error}): give the tokenizer.json of a checkpoint"
            ) from error
        if not isinstance(engine.model, models.WordPiece):
            kind = type(engine.model).__name__
            raise R2D2Error(
                f"{path} holds a {kind} model: give a tokenizer.json with a WordPiece one"
            )
        try:
            return cls(engine)
        except R2D2Error as error:
            raise R2D2Error(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json, whole or not at all, in the format of the `tokenizers` package."""
        path = Path(path)
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(self._engine.to_str(pretty=True))
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).chmod(0o644)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise R2D2Error(
                f"cannot write tokenizer {path}: {error.strerror}; free or choose another place"
            ) from error

    def __call__(self, texts: Sequence[str]) -> tuple[torch.LongTensor, torch.BoolTensor]:
        """Encode n texts as [CLS] ... [SEP], cut to `max_length`, padded to L, the longest of them.

        Returns ids (n, L) and mask (n, L), True where a position is no padding. A text without
        tokens is [CLS] [SEP].
        """
        import torch  # here: packages without torch use this file too

        if isinstance(texts, str):
            raise R2D2Error(f"texts is one string, {texts[:20]!r}: give a list of strings")
        encodings = self._encode(texts)
        shape = (len(encodings), len(encodings[0].ids) if encodings else 0)
        ids = torch.tensor([e.ids for e in encodings], dtype=torch.long).view(shape)
        mask = torch.tensor([e.attention_mask for e in encodings], dtype=torch.bool).view(shape)
        return ids, mask  # type: ignore[return-value]  # torch types every constructor as Tensor

    def tokens(self, text: str) -> list[str]:
        """The tokens of one text, cut as `__call__` cuts it, without [CLS] and [SEP]."""
        found: list[str] = self._engine.encode(text).tokens[1:-1]
        return found

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where in `text` each token of `__call__` comes from, as [start, end) in characters.

        (L,) in the order of the ids; (0, 0) for what was added, such as [CLS]. Characters that
        normalising takes apart or joins share their place.
        """
        found: list[tuple[int, int]] = self._encode([text], offsets=True)[0].offsets
        return found

    def pieces(self, text: str) -> list[tuple[int, int, bool]]:
        """Where each token of a text comes from, [start, end) in characters, and if it is known.

        All tokens, however many; what the vocabulary lacks is a token that is not known.
        """
        found = self._engine.encode(text, add_special_tokens=False)
        return [
            (*span, number != self.unk_id)
            for part in (found, *found.overflowing)
            for number, span, mask in zip(part.ids, part.offsets, part.attention_mask, strict=True)
            if mask
        ]

    def vocabulary(self) -> list[str]:
        """All tokens, by id."""
        found: dict[str, int] = self._engine.get_vocab()
        return sorted(found, key=lambda token: found[token])

    def uncut(self, texts: Sequence[str]) -> list[list[str]]:
        """All tokens of each text, however many, without [CLS] and [SEP]."""
        return [
            [
                token
                for part in (found, *found.overflowing)
                for token, added in zip(part.tokens, part.special_tokens_mask, strict=True)
                if not added
            ]
            for found in self._engine.encode_batch(list(texts))
        ]

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than `max_length` tokens, and so lose their end."""
        return sum(bool(found.overflowing) for found in self._engine.encode_batch(list(texts)))

    @property
    def room(self) -> int:
        """Tokens of a text that are read, without those that are added, as [CLS] and [SEP]."""
        return self.max_length - int(self._engine.num_special_tokens_to_add(False))

    def limit(self, max_length: int) -> None:
        """Cut texts at another length, in tokens; at least 3."""
        if max_length < 3:
            raise R2D2Error(
                f"a text length of {max_length} is too short: [CLS], a token and [SEP] need 3"
            )
        self.max_length = max_length
        self._engine.enable_truncation(max_length)

    def decode(self, ids: Iterable[int]) -> str:
        """Ids (L,) to text: special tokens left out, spaces only between words of letters.

        What normalising lost (case, accents, spaces between CJK characters) does not come back.
        """
        text = ""
        for index in (int(i) for i in ids):
            token = self._engine.id_to_token(index)
            if token is None or index in self.special_ids:
                continue
            if token.startswith(PREFIX) and len(token) > len(PREFIX):
                token = token[len(PREFIX) :]
            elif text and text[-1].isalnum() and token[0].isalnum():
                pair = text[-1] + token[0]
                token = token if len(_apart(pair)) > len(pair) else " " + token
            text += token
        return text

    def _encode(self, texts: Sequence[str], offsets: bool = False) -> list[Any]:
        encode = self._engine.encode_batch if offsets else self._engine.encode_batch_fast
        try:
            encodings: list[Any] = encode(list(texts))
        except (
            TypeError,
            UnicodeEncodeError,
        ) as error:  # not a str, or half a surrogate pair in it
            raise R2D2Error(
                f"a text is no valid Unicode string ({error}): give strings only"
            ) from error
        return encodings

    def __getstate__(self) -> str:
        state: str = self._engine.to_str()
        return state

    def __setstate__(self, state: str) -> None:
        self.__init__(Engine.from_str(state))  # type: ignore[misc]  # sets the switch that is not in the state


def text_key(text: str) -> str:
    """What two texts must share to count as the same: NFKC, lower case, white space folded."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


# What stands around a sentence and is no part of it, after NFKC: end marks, quotes, brackets.
_AROUND = "。.!?,;:、…·・~—'\"`‘’“”„«»‹›「」『』《》〈〉【】〔〕()[]{}¡¿"


def loose_text_key(text: str) -> str:
    """What two texts must share to be the same text for splits and for leak checks.

    Coarser than `text_key`, which stays what training and evaluation call equal: here texts are the
    same also if they differ in spaces, in invisible characters, in variation selectors, or in the
    marks at their ends, such as a final 。. What is inside a text counts, and so do traditional
    characters against simplified ones, which only a dictionary could fold. A text of nothing but
    such marks keeps its `text_key`.
    """
    folded = unicodedata.normalize("NFKC", text_key(text).casefold())
    visible = "".join(char for char in folded if not (char.isspace() or _invisible(char)))
    return visible.strip(_AROUND) or text_key(text)


def _invisible(char: str) -> bool:
    """Whether a character is a control, a zero-width one, or a variation selector."""
    return unicodedata.category(char) in ("Cc", "Cf") or "\ufe00" <= char <= "\ufe0f"


def key_hash(key: str) -> int:
    """A text key or an image id as a signed 64-bit integer, so that tensors can compare them.

    Two of 250 million keys collide with a probability of 0.2%.
    """
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _normalizer(*, fold_width: bool) -> normalizers.Normalizer:
    bert = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    return normalizers.Sequence([normalizers.NFKC(), bert]) if fold_width else bert


def _apart(text: str) -> str:
    """`text` with spaces set around CJK characters."""
    spaced: str = normalizers.BertNormalizer(lowercase=False).normalize_str(text)
    return spaced


def _engine(
    vocab: dict[str, int], max_length: int, longest_word: int = LONGEST_WORD, *, fold_width: bool
) -> Engine:
    missing = [token for token in SPECIAL_TOKENS if token not in vocab]
    if missing:
        raise R2D2Error(
            f"the vocabulary lacks {', '.join(missing)}: give a BERT vocab.txt, one token a line"
        )
    if max_length < 3:  # the engine itself would only fail at the first text
        raise R2D2Error(f"max_length is {max_length}: [CLS], a token and [SEP] need at least 3")
    engine = Engine(models.WordPiece(vocab, unk_token=UNK, max_input_chars_per_word=longest_word))
    engine.add_special_tokens(list(SPECIAL_TOKENS))
    engine.normalizer = _normalizer(fold_width=fold_width)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.post_processor = processors.BertProcessing((SEP, vocab[SEP]), (CLS, vocab[CLS]))
    engine.enable_truncation(max_length)
    return engine
