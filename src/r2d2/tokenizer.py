"""WordPiece as in Chinese BERT, and the key by which two texts count as the same.

`bert-base-chinese` and RoBERTa-wwm-ext convert text to lower case, make every CJK character a token
and split other words into pieces (Devlin et al., arXiv 1810.04805). `Tokenizer.from_vocab` reads
their `vocab.txt`; `Tokenizer.train` makes a small vocabulary of this kind for new models.
"""

from __future__ import annotations

import hashlib
import io
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as Engine
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.inputs.encoding import as_utf8

if TYPE_CHECKING:
    import torch

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)  # BERT's order; ids 0 to 4 where we train a vocabulary
MAX_LENGTH = 64  # tokens, [CLS] and [SEP] included (official code)
LONGEST_WORD = 100  # letters; a longer word is [UNK] (as in transformers and the official code)
PREFIX = "##"  # the prefix of a piece that continues a word


class Tokenizer:
    """Converts texts to token ids and back; made by `train`, `from_vocab` or `load`. Picklable."""

    def __init__(self, engine: Engine) -> None:
        vocab: dict[str, int] = engine.get_vocab()
        self.max_length: int = (engine.truncation or {}).get("max_length", MAX_LENGTH)
        _check_vocabulary(vocab, self.max_length)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            vocab[token] for token in SPECIAL_TOKENS
        )
        self.special_ids: frozenset[int] = frozenset(vocab[token] for token in SPECIAL_TOKENS)
        self.vocab_size: int = 1 + max(vocab.values())
        engine.enable_truncation(self.max_length)
        engine.enable_padding(pad_id=self.pad_id, pad_token=PAD)
        # "[MASK]" in a user's text is read as six characters. The file does not save this switch.
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
        word, even where these are more than `vocab_size`. The rest of `vocab_size` is filled with
        longer pieces that occur at least `min_frequency` times. Full-width forms are first
        converted to half-width (NFKC), as in `text_key`.
        """
        normalizer, splitter = _normalizer(fold_width=True), pre_tokenizers.BertPreTokenizer()
        words: Counter[str] = Counter()
        for text in texts:
            pieces = splitter.pre_tokenize_str(normalizer.normalize_str(text))
            words.update(word for word, _ in pieces)
        characters = sorted({*string.ascii_lowercase, *string.digits, *"".join(words)})
        # Punctuation and CJK characters are always tokens; the others also occur inside words.
        inner = [c for c in characters if len(splitter.pre_tokenize_str(_apart("a" + c))) == 1]
        # As special tokens they have ids that do not depend on the order of the words in the
        # trainer's hash map. Ties between merges are decided by ids, so training is deterministic.
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

        Raises R2D2Error if the file is missing, has no known encoding, contains a token twice or
        lacks a special token.
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
        """Read a file that `save` wrote. Raises R2D2Error for any other file."""
        return cls.of(read_engine(path), path)

    @classmethod
    def of(cls, engine: Engine, path: str | Path) -> Tokenizer:
        """The tokenizer of an engine that was read at `path`; R2D2Error where it is no BERT's."""
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
        """Write tokenizer.json atomically, in the format of the `tokenizers` package."""
        write_text(Path(path), self._engine.to_str(pretty=True))

    def __call__(self, texts: Sequence[str]) -> tuple[torch.LongTensor, torch.BoolTensor]:
        """Encode n texts as [CLS] ... [SEP], cut to `max_length`, padded to the longest length L.

        Returns ids (n, L) and mask (n, L), which is False at padding. A text without tokens is
        encoded as [CLS] [SEP].
        """
        import torch  # not at the top: packages without torch use this file too

        if isinstance(texts, str):
            raise R2D2Error(f"texts is one string, {texts[:20]!r}: give a list of strings")
        encodings = self._encode(texts)
        shape = (len(encodings), len(encodings[0].ids) if encodings else 0)
        ids = torch.tensor([e.ids for e in encodings], dtype=torch.long).view(shape)
        mask = torch.tensor([e.attention_mask for e in encodings], dtype=torch.bool).view(shape)
        return ids, mask  # type: ignore[return-value]  # torch types every constructor as Tensor

    def tokens(self, text: str) -> list[str]:
        """The tokens of one text, cut as `__call__` cuts it, without [CLS] and [SEP]."""
        tokens: list[str] = self._engine.encode(text).tokens
        return tokens[1:-1]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The position in `text` of each token of `__call__`, as [start, end) in characters.

        (L,) in the order of the ids; (0, 0) for added tokens, such as [CLS]. Characters that
        normalising splits or joins have the same position.
        """
        spans: list[tuple[int, int]] = self._encode([text], offsets=True)[0].offsets
        return spans

    def pieces(self, text: str) -> list[tuple[int, int, bool]]:
        """The position of each token, [start, end) in characters, and whether the token is known.

        A token is known if it is in the vocabulary. The text is not cut.
        """
        encoding = self._engine.encode(text, add_special_tokens=False)
        return [
            (*span, number != self.unk_id)
            for part in (encoding, *encoding.overflowing)
            for number, span, mask in zip(part.ids, part.offsets, part.attention_mask, strict=True)
            if mask
        ]

    def vocabulary(self) -> list[str]:
        """All tokens, by id."""
        ids: dict[str, int] = self._engine.get_vocab()
        return sorted(ids, key=ids.__getitem__)

    def uncut(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text without cutting, and without [CLS] and [SEP]."""
        return [
            [
                token
                for part in (encoding, *encoding.overflowing)
                for token, added in zip(part.tokens, part.special_tokens_mask, strict=True)
                if not added
            ]
            for encoding in self._engine.encode_batch(list(texts))
        ]

    def cut(self, texts: Sequence[str]) -> int:
        """The number of texts that are cut because they have more than `max_length` tokens."""
        return sum(bool(e.overflowing) for e in self._engine.encode_batch(list(texts)))

    @property
    def room(self) -> int:
        """The largest number of tokens of a text that are read, without added special tokens."""
        return self.max_length - int(self._engine.num_special_tokens_to_add(False))

    def limit(self, max_length: int) -> None:
        """Set another `max_length`, in tokens; at least 3."""
        if max_length < 3:
            raise R2D2Error(
                f"a text length of {max_length} is too short: [CLS], a token and [SEP] need 3"
            )
        self.max_length = max_length
        self._engine.enable_truncation(max_length)

    def decode(self, ids: Iterable[int]) -> str:
        """Convert ids (L,) to text without special tokens; spaces only separate words of letters.

        Changes by normalising (case, accents, spaces between CJK characters) are not undone.
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
        except (TypeError, UnicodeEncodeError) as error:  # not a str, or a lone surrogate in it
            raise R2D2Error(
                f"a text is no valid Unicode string ({error}): give strings only"
            ) from error
        return encodings

    def __getstate__(self) -> str:
        state: str = self._engine.to_str()
        return state

    def __setstate__(self, state: str) -> None:
        self.__init__(Engine.from_str(state))  # type: ignore[misc]  # sets the switch that is not in the state


def check_length(source: object, longest: int, length: int | None) -> None:
    """R2D2Error where a model, called `source`, has no places for texts of so many tokens."""
    if length is not None and length > longest:
        raise R2D2Error(
            f"{source} has places for {longest} tokens, not {length}: give at most that"
        )


def read_engine(path: str | Path) -> Engine:
    """A tokenizer.json of any kind, which holds data and no code.

    Raises:
        R2D2Error: it is missing, or no such file.
    """
    try:
        return Engine.from_str(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise R2D2Error(
            f"cannot read tokenizer {path}: {error.strerror}; give a tokenizer.json"
        ) from error
    except Exception as error:  # the engine raises bare Exception
        raise R2D2Error(
            f"{path} is no tokenizer ({error}): give the tokenizer.json of a checkpoint"
        ) from error


def text_key(text: str) -> str:
    """The key that equal texts share: NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


# Marks at the ends of a sentence, after NFKC: end marks, quotes, brackets.
_AROUND = "。.!?,;:、…·・~—'\"`‘’“”„«»‹›「」『』《》〈〉【】〔〕()[]{}¡¿"


def loose_text_key(text: str) -> str:
    """The key that equal texts share in splits and in leak checks.

    It is coarser than `text_key`, which training and evaluation use: texts are also equal if they
    differ in spaces, in invisible characters, in variation selectors, or in the marks at their
    ends, such as a final 。. Marks inside a text count. Traditional and simplified characters
    differ, since only a dictionary could convert them. A text that has only such marks keeps its
    `text_key`.
    """
    folded = unicodedata.normalize("NFKC", text_key(text).casefold())
    visible = "".join(char for char in folded if not (char.isspace() or _invisible(char)))
    return visible.strip(_AROUND) or text_key(text)


def _invisible(char: str) -> bool:
    """Whether a character is a control, a zero-width one, or a variation selector."""
    return unicodedata.category(char) in ("Cc", "Cf") or "\ufe00" <= char <= "\ufe0f"


def key_hash(key: str) -> int:
    """Hash a text key or an image id to a signed 64-bit integer, which tensors can compare.

    The probability that any two of 250 million keys collide is 0.2%.
    """
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _normalizer(*, fold_width: bool) -> normalizers.Normalizer:
    bert = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    return normalizers.Sequence([normalizers.NFKC(), bert]) if fold_width else bert


def _apart(text: str) -> str:
    """Put spaces around the CJK characters of `text`."""
    spaced: str = normalizers.BertNormalizer(lowercase=False).normalize_str(text)
    return spaced


def _engine(
    vocab: dict[str, int], max_length: int, longest_word: int = LONGEST_WORD, *, fold_width: bool
) -> Engine:
    _check_vocabulary(vocab, max_length)  # the engine would fail only at the first text
    engine = Engine(models.WordPiece(vocab, unk_token=UNK, max_input_chars_per_word=longest_word))
    engine.add_special_tokens(list(SPECIAL_TOKENS))
    engine.normalizer = _normalizer(fold_width=fold_width)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.post_processor = processors.BertProcessing((SEP, vocab[SEP]), (CLS, vocab[CLS]))
    engine.enable_truncation(max_length)
    return engine


def _check_vocabulary(vocab: Mapping[str, int], max_length: int) -> None:
    """R2D2Error where the special tokens are missing, or do not fit into a text."""
    missing = [token for token in SPECIAL_TOKENS if token not in vocab]
    if missing:
        raise R2D2Error(
            f"the vocabulary lacks {', '.join(missing)}: give one of the BERT kind, "
            f"which holds {' '.join(SPECIAL_TOKENS)}"
        )
    if max_length < 3:
        raise R2D2Error(f"max_length is {max_length}: [CLS], a token and [SEP] need at least 3")
