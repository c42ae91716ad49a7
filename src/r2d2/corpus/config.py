"""Settings of a corpus build: one frozen dataclass a stage; presets/zero.yaml holds them all.

A limit that is None is off. "Zero" is arXiv 2205.03860, "DanQing" arXiv 2601.10305.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.inputs.yaml_text import read_yaml
from r2d2.settings import (
    COUNT,
    POSITIVE,
    SHARE,
    SIZE,
    check,
    from_dict,
    merge,
    one_of,
    parse_setting,
    read_preset,
    within,
)

PRESETS = "corpus/presets"

# What a setting names beyond itself; `stages.py` reads it, and it counts as part of the setting.
FILE = {"names": "file"}
WORDS = {"names": "word lists"}
FUNCTION = {"names": "function"}
HOSTS = {"names": "hosts"}
PRIVATE_HOSTS = {"names": "private hosts"}


@dataclass(frozen=True)
class LogConfig:
    """Which column of the log holds what. A name that the log lacks is as if it were not given."""

    image: str = "image"  # the encoded file itself
    path: str = "path"  # or a path to it, relative to the log's folder
    url: str = "url"  # or an address
    query: str = "query"
    impressions: str = "impressions"  # how often the image was shown for the query; 1 a row if none
    clicks: str = "clicks"
    title: str = "title"
    content: str = "content"
    caption: str = "caption"  # of a crawl without clicks
    position: str = "position"  # rank at which the image was shown, from 1


@dataclass(frozen=True)
class RankConfig:
    """Ranking by click-through rate."""

    enabled: bool | None = None  # None: where a log has queries; off for a crawl without clicks
    method: str = "bayes"  # empirical Bayes (bayes), or the Wilson lower bound (wilson)
    confidence: float = 0.95  # of the Wilson bound, two-sided
    examination: tuple[float, ...] = ()  # chance that position 1, 2, ... is looked at; none: all 1
    min_impressions: int = 1
    min_clicks: int = 1
    threshold: float | None = None  # keep a pair whose smoothed CTR is at least this
    top_share: float | None = None  # or the best share of the pairs ...
    top_count: int | None = None  # ... or the best so many
    max_queries: int = 10  # of an image, the best by smoothed CTR
    # fetch also images without a query left: some are copies of others, whose counts they add to
    copies: bool = False

    def __post_init__(self) -> None:
        one_of("rank.method", self.method, ("bayes", "wilson"))
        check(self, "rank", {"confidence": (0.5, 0.999999), "threshold": SHARE})
        if self.top_share == 0:
            raise R2D2Error("rank.top_share is 0, which keeps no pair: give more, and up to 1")
        check(self, "rank", {"top_share": SHARE, "top_count": SIZE, "max_queries": SIZE})
        check(self, "rank", {"min_impressions": COUNT, "min_clicks": COUNT})
        for value in self.examination:
            within("rank.examination", value, (1e-6, 1))
        if sum(x is not None for x in (self.threshold, self.top_share, self.top_count)) > 1:
            raise R2D2Error(
                "rank: give one of threshold, top_share and top_count, and null for the others"
            )

    @property
    def active(self) -> bool:
        """Whether pairs are ranked; a build asks its logs where that was left open."""
        return self.enabled is not False

    @property
    def cuts(self) -> bool:
        """Whether pairs are dropped for their rate."""
        return any(x is not None for x in (self.threshold, self.top_share, self.top_count))


@dataclass(frozen=True)
class TextFilterConfig:
    """Which texts are kept. A word list is a built-in name or a file of one word a line."""

    enabled: bool = True
    simplified: bool = True  # turn traditional characters into simplified ones
    min_words: int | None = None  # of rjieba
    max_words: int | None = None
    min_chars: int | None = 2
    max_chars: int | None = 200
    min_chinese: float | None = 0.3  # share of Chinese characters among all but spaces
    noun: bool = False  # at least one noun
    min_entropy: float | None = None  # bits, of the text's own characters
    max_repeat: int | None = 5  # the same character in a row
    max_unknown: float | None = None  # share of characters that the vocabulary lacks
    # a BERT vocab.txt, for max_unknown
    vocab: str | None = field(default=None, metadata=FILE)
    mojibake: bool = True  # drop texts that were decoded by a wrong encoding
    contacts: bool = True  # drop phone numbers, QQ, WeChat, addresses of mail and web
    # drop price and advertising phrases, by the list of this name
    advertising: bool = field(default=True, metadata=WORDS)
    word_lists: tuple[str, ...] = field(
        default=("pornography", "gambling", "drugs", "violence", "fraud"), metadata=WORDS
    )
    # lists of words within which a listed one does no harm; and three built-in ones of words beside
    # which those of the built-in lists do none: reports, topics, designs
    allow: tuple[str, ...] = field(
        default=("allow", "reports", "topics", "designs"), metadata=WORDS
    )
    # "module:function" of your own; see corpus/texts/classifier.py
    classifier: str | None = field(default=None, metadata=FUNCTION)

    def __post_init__(self) -> None:
        counts = ("min_words", "max_words", "min_chars", "max_chars")
        check(self, "text", dict.fromkeys(counts, COUNT))
        check(self, "text", {"min_chinese": SHARE, "max_unknown": SHARE, "min_entropy": COUNT})
        check(self, "text", {"max_repeat": SIZE})
        if self.max_unknown is not None and self.vocab is None:
            raise R2D2Error("text.max_unknown needs text.vocab: the path of a BERT vocab.txt")


@dataclass(frozen=True)
class FetchConfig:
    """How images are fetched."""

    enabled: bool = True  # false: an address without a result of an earlier run is dropped
    concurrency: int = 64  # requests at a time
    per_host: int = 4  # of them to one host
    timeout_s: float = 20.0  # of a whole request
    connect_timeout_s: float = 5.0
    retries: int = 2  # after a failure that may pass: time-out, 429, 5xx, a broken connection
    backoff_s: float = 1.0  # before the first retry, doubled for each further one, with jitter
    max_bytes: int = 20_000_000
    max_pixels: int = 64_000_000
    max_redirects: int = 5
    # hosts (with their subdomains), addresses and networks (10.0.0.0/8) that may be fetched from
    # although they are private or this machine; files of one a line; *: all
    allow_private: tuple[str, ...] = field(default=(), metadata=PRIVATE_HOSTS)
    respect_opt_out: bool = True  # X-Robots-Tag: noai, noindex and their like; TDM-Reservation: 1
    # hosts, their subdomains included; or files of one a line
    block: tuple[str, ...] = field(default=(), metadata=HOSTS)
    user_agent: str = "r2d2-corpus/0.1"
    shard_rows: int = 10_000  # addresses fetched before they are written: what a kill may lose

    def __post_init__(self) -> None:
        sizes = ("concurrency", "per_host", "max_bytes", "max_pixels", "shard_rows")
        check(self, "fetch", dict.fromkeys(sizes, SIZE))
        check(self, "fetch", {"retries": COUNT, "max_redirects": COUNT, "backoff_s": COUNT})
        check(self, "fetch", {"timeout_s": POSITIVE, "connect_timeout_s": POSITIVE})


@dataclass(frozen=True)
class ImageConfig:
    """Which images are kept."""

    enabled: bool = True
    max_pixels: int = 64_000_000
    min_side: int | None = 100  # pixels, of the shorter side (DanQing)
    max_aspect: float | None = 3.0  # longer side by shorter (DanQing)
    min_std: float | None = 2.0  # of the grey values, 0 to 255 (DanQing)
    min_entropy: float | None = 3.0  # bits, of the histogram of grey values (DanQing)
    min_sharpness: float | None = None  # variance of the Laplacian, at `sharpness_side`
    sharpness_side: int = 256  # pixels, of the longer side when sharpness is measured
    max_harmful: float | None = 0.8  # probability by the classifier
    # an ONNX file of your own; None: opennsfw
    harmful_model: str | None = field(default=None, metadata=FILE)

    def __post_init__(self) -> None:
        check(self, "image", {"max_pixels": SIZE, "min_side": COUNT, "max_aspect": (1, 1e9)})
        check(self, "image", {"min_std": COUNT, "min_entropy": COUNT, "min_sharpness": COUNT})
        check(self, "image", {"sharpness_side": (16, 4096), "max_harmful": SHARE})


@dataclass(frozen=True)
class DedupConfig:
    """Which images are one."""

    exact: bool = True  # by the hash of the file
    radius: int | None = 4  # bits in which two 64-bit perceptual hashes may differ; None: off
    meaning: float | None = None  # cosine distance of embeddings (DanQing: 0.1); needs a model

    def __post_init__(self) -> None:
        check(self, "dedup", {"radius": (0, 16), "meaning": (0, 2)})

    @property
    def active(self) -> bool:
        """Whether duplicates are sought."""
        return self.exact or self.radius is not None or self.meaning is not None


@dataclass(frozen=True)
class RecaptionConfig:
    """One more text of each image, by a model behind OpenAI's chat completions; off by default."""

    endpoint: str | None = None  # such as http://localhost:8000/v1; None: off
    model: str = ""  # as the endpoint calls it
    prompt: str = "请用一句通顺的中文描述这张图片的内容，只写这一句。"
    texts: bool = False  # let the image's texts follow the prompt, one a line
    key_variable: str = "R2D2_RECAPTION_KEY"  # environment variable that holds the API key
    max_requests: int | None = None  # of all runs of this build together, retries among them
    concurrency: int = 8  # requests at a time
    timeout_s: float = 120.0  # of a request
    retries: int = 4  # after a failure that may pass: time-out, 429, 5xx, an answer without sense
    backoff_s: float = 1.0  # before the first retry, doubled for each further one, with jitter
    max_tokens: int = 200  # of a caption
    max_side: int = 1024  # pixels of the longer side of the picture that is sent, as a JPEG

    def __post_init__(self) -> None:
        sizes = ("concurrency", "max_tokens", "max_side")
        check(self, "recaption", dict.fromkeys(sizes, SIZE))
        check(self, "recaption", {"max_requests": COUNT, "retries": COUNT, "backoff_s": COUNT})
        check(self, "recaption", {"timeout_s": POSITIVE})
        if self.endpoint is not None and not self.model:
            raise R2D2Error("recaption.endpoint needs recaption.model: name one that it serves")


@dataclass(frozen=True)
class AlignConfig:
    """Keep a pair whose similarity by a model lies between two bounds; both None: off."""

    low: float | None = None  # cosine; below it the text is noise
    high: float | None = None  # above it the text is often printed in the picture

    def __post_init__(self) -> None:
        check(self, "align", {"low": (-1, 1), "high": (-1, 1)})


@dataclass(frozen=True)
class SampleConfig:
    """A share of the corpus, and what is held out of it, by a hash of image_id."""

    share: float = 1.0  # of the images; a smaller share lies within a larger one
    # name: share; the rest is train
    splits: Mapping[str, float] = field(default_factory=lambda: {"val": 0.05})
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise R2D2Error(
                f"sample.share (--share) is {self.share:g}: give more than 0, which would keep no "
                "image, and up to 1, which keeps all"
            )
        for name, share in self.splits.items():
            within(f"sample.splits.{name}", share, SHARE)
        if sum(self.splits.values()) >= 1:
            raise R2D2Error(
                "sample.splits leave nothing to train on: their shares must sum below 1"
            )


@dataclass(frozen=True)
class CorpusConfig:
    """Everything a corpus is made by."""

    preset: str = "zero"
    log: LogConfig = field(default_factory=LogConfig)
    rank: RankConfig = field(default_factory=RankConfig)
    query: TextFilterConfig = field(default_factory=TextFilterConfig)  # of queries
    # of titles, contents and captions
    text: TextFilterConfig = field(default_factory=TextFilterConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    dedup: DedupConfig = field(default_factory=DedupConfig)
    recaption: RecaptionConfig = field(default_factory=RecaptionConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)


def make_corpus_config(
    preset: str = "zero", file: Path | None = None, settings: Sequence[str] = ()
) -> CorpusConfig:
    """The preset, then a YAML file of one's own, then `settings`, each "group.name=value".

    Raises:
        R2D2Error: the preset, a setting or the file is unknown, or a value is of the wrong type.
    """
    data = read_preset(PRESETS, "corpus preset", preset)
    if file is not None:
        own = read_yaml(file)
        if own is not None and not isinstance(own, Mapping):
            raise R2D2Error(f"{file} holds no settings: write groups such as `rank:`")
        data = merge(data, own or {})
    for setting in settings:
        data = merge(data, parse_setting(setting))
    return from_dict(CorpusConfig, {"preset": preset, **data})
