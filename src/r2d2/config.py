"""Settings of a run: frozen dataclasses, one a concern; presets/ holds sizes, variants/ ablations.

A default that the paper gives says so; every other one is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from r2d2.errors import R2D2Error
from r2d2.settings import (
    COUNT,
    INFINITY,
    POSITIVE,
    SHARE,
    SIZE,
    check,
    data_files,
    from_dict,
    merge,
    one_of,
    parse_setting,
    read_preset,
    to_dict,
    within,
)

RECOMMENDED, OFFICIAL = "recommended", "official"  # settings to fine-tune with
LOGIT_BIAS = -10.0  # SigLIP's start of the sigmoid's bias
ACTIVATIONS = ("gelu", "gelu_new", "quick_gelu", "relu")  # gelu_new: gelu by its tanh formula

__all__ = [
    "Config",
    "from_dict",
    "make_config",
    "make_tuning_config",
    "presets",
    "to_dict",
    "tuning_tasks",
    "variants",
]


@dataclass(frozen=True)
class VisionConfig:
    """ViT with a class token, pre-norm (CLIP's)."""

    image_size: int = 224  # pixels, square
    patch_size: int = 16  # pixels
    width: int = 768  # d_v
    layers: int = 12
    heads: int = 12
    # patch: a linear map of each patch by itself (CLIP's); conv: small convolutions in front of it,
    # so that patches overlap
    stem: str = "patch"
    # Deviation that position embeddings start with. That of patch embeddings starts near 1.1;
    # beside them 0.02 is next to nothing, and the states tell what is there, not where
    position_std: float = 0.02
    output_norm: bool = False  # a norm on V; the official weights have none
    pooled_norm: bool = False  # a norm on V_[CLS] for its projection only (CLIP, Chinese-CLIP)
    inner_width: int = 0  # of the feed-forward; 0: four times the width
    activation: str = "quick_gelu"  # CLIP's
    norm_eps: float = 1e-5  # CLIP's

    def __post_init__(self) -> None:
        sizes = ("image_size", "patch_size", "width", "heads")
        check(self, "model.vision", {**dict.fromkeys(sizes, SIZE), "layers": COUNT})
        check(self, "model.vision", {"inner_width": COUNT, "norm_eps": POSITIVE})
        check(self, "model.vision", {"position_std": POSITIVE})
        one_of("model.vision.activation", self.activation, ACTIVATIONS)
        one_of("model.vision.stem", self.stem, ("patch", "conv"))
        if self.image_size % self.patch_size:
            raise R2D2Error(
                f"model.vision: image_size {self.image_size} is not a multiple of "
                f"patch_size {self.patch_size}"
            )

    @property
    def patches(self) -> int:
        """P, the number of patches."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class TextConfig:
    """BERT, post-norm; RoBERTa-wwm-ext is one of base size."""

    vocab_size: int = 21128  # RoBERTa-wwm-ext's; a trained tokenizer's own size replaces it
    max_length: int = 64  # tokens, [CLS] and [SEP] included (official code)
    width: int = 768  # d_t, also the width of both cross encoders
    layers: int = 12
    heads: int = 12
    inner_width: int = 0  # of the feed-forward; 0: four times the width
    activation: str = "gelu"  # BERT's; the cross encoders keep gelu
    norm_eps: float = 1e-12  # BERT's; the cross encoders keep it

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "width", "heads")
        check(self, "model.text", {**dict.fromkeys(sizes, SIZE), "layers": COUNT})
        check(self, "model.text", {"inner_width": COUNT, "norm_eps": POSITIVE})
        one_of("model.text.activation", self.activation, ACTIVATIONS)
        check(self, "model.text", {"max_length": (3, INFINITY)})  # [CLS], a token, [SEP]


@dataclass(frozen=True)
class HfTowersConfig:
    """Towers of a Hugging Face dual encoder instead of ours; see docs/towers.md."""

    kind: str  # its model_type: chinese_clip, clip, siglip or siglip2
    config: str  # its config.json
    mean: tuple[float, float, float]  # of the pixels, which it subtracts
    std: tuple[float, float, float]
    length: int  # tokens to which it pads a text, if it attends to padding
    pad_id: int
    mask_id: int  # of the token that stands for a masked one
    special_ids: tuple[int, ...]  # never masked


@dataclass(frozen=True)
class ModelConfig:
    """The whole model's shape."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    cross_layers: int = 6  # of each cross encoder (paper); 0: neither these nor a head (PRD2)
    embed_dim: int = 768  # d, shared width of f_I and f_T (official code)
    projection_bias: bool = True  # of W_I and W_T (official code; CLIP and Chinese-CLIP have none)
    temperature: float = 0.07  # start of tau (paper), learnt within [0.001, 0.5]
    dropout: float = 0.0  # in text and cross encoders
    hf_towers: HfTowersConfig | None = None  # `vision` and `text` then tell its shape
    logit_bias: float | None = None  # start of the sigmoid contrast's bias; None: there is none

    def __post_init__(self) -> None:
        check(self, "model", {"cross_layers": COUNT, "embed_dim": SIZE, "dropout": (0.0, 0.99)})
        check(self, "model", {"temperature": (0.001, 0.5)})
        for name, side in (("vision", self.vision), ("text", self.text)):
            if side.width % side.heads:
                raise R2D2Error(
                    f"model.{name}: width {side.width} is not a multiple of heads {side.heads}"
                )


@dataclass(frozen=True)
class ObjectiveConfig:
    """The objectives of the variant and their constants (docs/method.md)."""

    tgd: bool = True  # target-guided distillation; off: plain GCPR
    # softmax (GCPR, TgD), or sigmoid: each pair separately, with a learned bias (SigLIP); no TgD
    contrast: str = "softmax"
    # Widths to which embeddings may be cut later (Matryoshka): the contrast is the mean over these
    # and the full width; none: the full width only
    widths: tuple[int, ...] = ()
    fgd: bool = True  # feature-guided distillation
    fgr: bool = True  # fine-grained ranking with both cross encoders
    mlm: bool = True  # masked language modelling
    et: bool = True  # enhanced training: FGR's positive pass is MLM's pass
    alpha: float = 0.4  # share of the soft target, raised from 0 over the first epoch
    momentum: float = 0.995  # of the teachers (paper)
    queue_size: int = 36864  # Q, features a queue
    queue_decay: float = 0.99  # a step, of a queued feature's weight (paper)
    mask_share: float = 0.15  # of a text's tokens (paper)
    et_masked_share: float = 0.5  # of the texts masked under ET; 1: all (the paper, long captions)
    image_keep: float = 0.5  # share of the patches that FgD's student sees
    teacher_temperature: float = 0.05  # tau_t of FgD
    student_temperature: float = 0.05  # tau_s of FgD; unequal, the teacher's feature is no optimum
    # Share of the gradient of FGR and MLM that the towers receive: 1, all of it (the paper);
    # 0, none, so that only the contrast trains them
    ranking_gradient: float = 1.0
    # Pairs of a block, consecutive in the batch: all its images are ranked with all its texts,
    # instead of the pairs that FGR draws; 0: no blocks
    list_size: int = 0
    ranking_from: float = 0.0  # share of the run that trains the towers only, before FGR and MLM
    # Share of the run after which only the cross encoders are trained, with a new warm-up, on
    # blocks of similar pairs that the towers find in the whole table. 0: from the start, for a
    # model whose towers are trained already; 1: never
    second_stage_from: float = 1.0
    # Share of the second stage after which its blocks are of similar pairs; before, of random ones.
    # From random pairs the cross encoders learn sooner, by FGR (weight_fgr): the listwise loss has
    # little to say there, since the towers tell these pairs apart already
    mining_from: float = 0.0
    # A candidate whose cosine with a query exceeds that of the query's positive by more than this
    # is unlabelled: no negative of FGR and of lists, and left out of the contrast. None: every
    # candidate that is no positive is a negative. Below 0: one that is nearly as similar, too
    unlabelled_margin: float | None = None
    # Share of the run before which no candidate is unlabelled: towers that know little find all
    # candidates alike. 0: from the start, for a model whose towers are trained already
    unlabelled_from: float = 0.3
    positive_weight: float = 2.0  # of FGR's positive class (official code)
    text_positives: bool = True  # equal texts are positives of one another, as equal images are
    # The cross entropy of labelled pairs: heads, the mean of both heads'; mean, that of the mean of
    # both heads' probabilities, taken for logits (official)
    label_loss: str = "heads"
    uniform_share: float = 0.5  # of FGR's draws at first ...
    uniform_until: float = 0.7  # ... falling to none at this share of the run
    # Groups of a batch that draw FGR's negatives among themselves only. 0: one group over all
    # processes, or with system.accumulate above 1 one for each chunk of each process
    negative_groups: int = 0
    weight_contrastive: float = 1.0  # of GCPR or TgD
    # Of the contrast with another text of the same picture, in the same step (FG-CLIP 2): a long
    # text beside a short one, or one of another source; 0: no second texts are read
    weight_second_text: float = 0.0
    weight_fgr: float = 1.0
    weight_listwise: float = 0.0  # of the listwise loss over blocks
    # Of what the second stage teaches the towers: the scores of both stages over blocks, without
    # gradient, are the target of the towers' own
    weight_rerank: float = 0.0
    # kl: the distribution over a block (arXiv 2601.04720); order: the order alone, pair by pair, by
    # a logistic loss (arXiv 2407.07479)
    rerank_loss: str = "kl"
    weight_mlm: float = 1.0
    weight_fgd: float = 1.0

    def __post_init__(self) -> None:
        shares = ("alpha", "momentum", "queue_decay", "mask_share", "et_masked_share", "image_keep")
        check(
            self,
            "objectives",
            dict.fromkeys((*shares, "uniform_share", "uniform_until", "ranking_gradient"), SHARE),
        )
        check(self, "objectives", {"ranking_from": (0, 0.99)})
        temperatures = ("teacher_temperature", "student_temperature")
        check(self, "objectives", dict.fromkeys(temperatures, POSITIVE))
        weights = [name for name in self.__dict__ if name.startswith("weight_")]
        check(self, "objectives", dict.fromkeys((*weights, "positive_weight"), COUNT))
        check(self, "objectives", {"queue_size": COUNT, "negative_groups": COUNT})
        one_of("objectives.contrast", self.contrast, ("softmax", "sigmoid"))
        if self.contrast == "sigmoid" and self.tgd:
            raise R2D2Error(
                "objectives.tgd distils a softmax over all candidates, which "
                "objectives.contrast=sigmoid has not: give objectives.tgd=false too"
            )
        if list(self.widths) != sorted({width for width in self.widths if width > 0}):
            raise R2D2Error(
                f"objectives.widths is {list(self.widths)}: give numbers above 0, each larger than "
                "the one before"
            )
        check(self, "objectives", {"list_size": COUNT})
        check(self, "objectives", dict.fromkeys(("second_stage_from", "mining_from"), SHARE))
        if self.second_stage_from < 1 and self.fgr and not self.list_size:
            raise R2D2Error(
                f"objectives.second_stage_from={self.second_stage_from:g} trains cross encoders "
                "on blocks of pairs: set objectives.list_size to 2 or more, or "
                "objectives.second_stage_from=1"
            )
        if self.second_stage_from < 1 and self.ranking_from > self.second_stage_from:
            raise R2D2Error(
                f"objectives.ranking_from={self.ranking_from:g} lies after "
                f"objectives.second_stage_from={self.second_stage_from:g}, when only the cross "
                "encoders learn: lower it"
            )
        if self.list_size == 1 or (self.weight_listwise and not self.list_size):
            raise R2D2Error(
                f"objectives.list_size is {self.list_size}, and a list has two pairs or more: give "
                "a size of at least 2, or 0 with objectives.weight_listwise=0 for no lists"
            )
        if self.list_size and self.negative_groups:
            raise R2D2Error(
                "objectives.list_size and objectives.negative_groups both say which pairs of a "
                "batch are ranked: set one of them to 0"
            )
        one_of("objectives.label_loss", self.label_loss, ("heads", "mean"))
        one_of("objectives.rerank_loss", self.rerank_loss, ("kl", "order"))
        check(self, "objectives", {"unlabelled_margin": (-2, 2)})  # differences of cosines
        check(self, "objectives", {"unlabelled_from": (0, 0.99)})
        if self.unlabelled_margin is not None and self.contrast == "sigmoid":
            raise R2D2Error(
                "objectives.unlabelled_margin leaves candidates out of a softmax, which "
                "objectives.contrast=sigmoid has not: leave one of them out"
            )
        if self.weight_rerank:
            self._check_rerank()
        if self.mlm and not self.fgr:
            raise R2D2Error("objectives.mlm needs objectives.fgr: turn both on or both off")
        if self.et and not self.mlm:
            raise R2D2Error("objectives.et needs objectives.mlm: turn both on or both off")

    def _check_rerank(self) -> None:
        """Refuse a second stage that is to teach the towers where it cannot; R2D2Error."""
        if not self.fgr:
            raise R2D2Error(
                "objectives.weight_rerank lets cross encoders teach the towers, and objectives.fgr "
                "is off: take a variant that trains them, or set objectives.weight_rerank=0"
            )
        if not self.list_size:
            raise R2D2Error(
                "objectives.weight_rerank lets cross encoders teach the towers by blocks of pairs, "
                "and objectives.list_size is 0: set it to 2 or more, or objectives.weight_rerank=0"
            )
        if self.ranking_from >= self.second_stage_from:
            raise R2D2Error(
                "objectives.weight_rerank lets cross encoders teach the towers, and no step trains "
                f"both stages: objectives.ranking_from={self.ranking_from:g} must lie before "
                f"objectives.second_stage_from={self.second_stage_from:g}"
            )
        if self.et and self.et_masked_share == 1:
            raise R2D2Error(
                "objectives.weight_rerank lets cross encoders teach the towers by the texts that "
                "they read whole, and objectives.et_masked_share=1 masks every text: lower it, or "
                "set objectives.et=false"
            )

    @property
    def teachers(self) -> bool:
        """Whether any objective needs the momentum teachers."""
        return self.tgd or self.fgd


@dataclass(frozen=True)
class TrainConfig:
    """One run of training."""

    # Splits of the table that are trained on. A model that is handed over may learn from all rows,
    # after its settings were chosen on `val`; nothing is left to measure it on then
    splits: tuple[str, ...] = ("train",)
    epochs: int = 20
    batch_size: int = 64  # pairs a step, over all processes
    lr: float = 1e-4  # peak
    min_lr: float = 0.0  # end of the cosine
    # After the warm-up: cosine, at every step; epochs, a cosine at every epoch, or triangular, up
    # from 5% of the peak in warmup_steps and down again, over and over (both official)
    schedule: str = "cosine"
    warmup_steps: int = 500
    warmup_lr: float = 0.0  # start of the warm-up, under schedule epochs
    bias_rate: float = 1.0  # of the learning rate, for biases
    weight_decay: float = 0.05
    # What decays: matrices, but for position and class tokens; weights, all but biases; or all
    # (both official). The temperature never decays: it is stored as a logarithm
    decay: str = "matrices"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    clip_norm: float = 1.0  # of all gradients together; 0: no clipping
    seed: int = 0
    # none; mild: small changes of place and colour; style: as if another artist had drawn it, of
    # another size and shape, recoloured and outlined; randaugment: crop and RandAugment (2, 5),
    # each operation applied; official: as the official code does it
    augment: str = "mild"
    dropout: float | None = None  # in text and cross encoders; None: the model's own
    flip: bool = False  # mirror half of the pictures (official); many texts say left or right
    hard_batches: int = 1  # similar rows that are put into a batch together (data/order.py)
    # texts: rows with similar texts; groups: near misses, which share the table's group_id
    hard_batches_by: str = "texts"
    hard_batches_from: float = 0.3  # share of the epochs before they begin
    labelled: bool = False  # learn from a matching set's labels, with FGR alone
    # Shares by text source; the other sources get equal shares
    source_shares: Mapping[str, float] = field(default_factory=dict)
    log_every: int = 10  # steps
    checkpoint_every: int = 500  # steps
    keep_checkpoints: int = 1  # the newest so many
    validate: bool = False  # measure `val` after every epoch, and keep the best model in best/
    max_bad_steps: int = 10  # in a row whose loss or gradient is not finite, before the run stops
    freeze_vision: bool = False  # leave the image tower as it is
    freeze_text: bool = False  # and the text tower; projections and cross encoders still learn
    layer_decay: float = 1.0  # of the learning rate, from each layer of a tower to the one below
    lora_rank: int = 0  # of the products that are trained instead of whole matrices; 0: whole
    lora_alpha: float = 0.0  # the products are scaled by alpha / rank; 0: by 1
    cache_mb: int = 1024  # decoded pictures kept in memory
    train_vocab: bool = False  # train the tokenizer on the training split; else read a vocab.txt

    def __post_init__(self) -> None:
        sizes = ("epochs", "batch_size", "hard_batches", "log_every", "checkpoint_every")
        check(self, "train", dict.fromkeys((*sizes, "keep_checkpoints", "max_bad_steps"), SIZE))
        if not self.splits or len(set(self.splits)) < len(self.splits):
            raise R2D2Error(
                f"train.splits is {list(self.splits)}: give one or more splits, each once"
            )
        if self.validate and "val" in self.splits:
            raise R2D2Error(
                "train.validate measures the model on split val, which train.splits trains on: "
                "leave one of them out"
            )
        one_of("train.augment", self.augment, ("none", "mild", "style", "randaugment", "official"))
        one_of("train.schedule", self.schedule, ("cosine", "epochs", "triangular"))
        one_of("train.decay", self.decay, ("matrices", "weights", "all"))
        one_of("train.hard_batches_by", self.hard_batches_by, ("texts", "groups"))
        check(self, "train", {"warmup_lr": COUNT, "bias_rate": POSITIVE, "dropout": (0.0, 0.99)})
        check(self, "train", {"layer_decay": (0.01, 1), "lora_rank": COUNT, "lora_alpha": COUNT})
        if self.lora_alpha and not self.lora_rank:
            raise R2D2Error(
                "train.lora_alpha is of the products of train.lora_rank, which is 0: give both, or "
                "leave it out"
            )
        counts = ("warmup_steps", "weight_decay", "clip_norm", "min_lr", "cache_mb")
        check(self, "train", dict.fromkeys(counts, COUNT))
        check(self, "train", {"lr": POSITIVE, "eps": POSITIVE, "hard_batches_from": SHARE})
        if self.min_lr > self.lr:
            raise R2D2Error(
                f"train.min_lr is {self.min_lr:g}, above train.lr, {self.lr:g}: the rate falls "
                "from train.lr to train.min_lr; lower train.min_lr"
            )
        for beta in self.betas:
            within("train.betas", beta, (0.0, 0.999999))
        for source, share in self.source_shares.items():
            within(f"train.source_shares.{source}", share, COUNT)


@dataclass(frozen=True)
class SystemConfig:
    """How a run uses its machines; this does not change what is learnt, except for rounding."""

    parallel: str = "ddp"  # over processes: whole copies (ddp), or cut (fsdp) for what does not fit
    accumulate: int = 1  # chunks of a process's share; the contrast is over all of them
    precision: str = "auto"  # float32, bfloat16 (autocast), or auto: bfloat16 on a GPU that has it
    compile: bool = False  # torch.compile of each layer
    # AdamW and the teachers' update: fused (all parameters in one kernel), foreach (all in one
    # call), single, or auto: fused where weights are whole, foreach where they are cut
    updates: str = "auto"
    checkpoint_activations: bool = False  # recompute a layer in the backward pass: less memory
    decode_threads: int = 0  # that read and decode pictures, a process; 0: by the number of cores
    threads: int = 0  # of torch, a process; 0: torch's own choice
    # How long a process waits for the others; one of them measures `val` meanwhile
    timeout_minutes: float = 120.0

    def __post_init__(self) -> None:
        one_of("system.parallel", self.parallel, ("ddp", "fsdp"))
        one_of("system.precision", self.precision, ("auto", "float32", "bfloat16"))
        one_of("system.updates", self.updates, ("auto", "fused", "foreach", "single"))
        check(self, "system", {"accumulate": SIZE, "decode_threads": COUNT, "threads": COUNT})
        check(self, "system", {"timeout_minutes": POSITIVE})


@dataclass(frozen=True)
class EvaluationConfig:
    """How a checkpoint is measured."""

    top_k: int = 32  # candidates that the cross encoders re-rank (official: 64 and 128)
    batch_size: int = 256  # items, or pairs, a forward pass

    def __post_init__(self) -> None:
        check(self, "evaluation", {"top_k": SIZE, "batch_size": SIZE})


@dataclass(frozen=True)
class TuningConfig:
    """Fine-tuning: what comes on top of training."""

    patience: int = 3  # epochs without a better figure on `val` before it stops; 0: all epochs

    def __post_init__(self) -> None:
        check(self, "tuning", {"patience": COUNT})


@dataclass(frozen=True)
class Config:
    """Everything a run is made of."""

    preset: str = "tiny"
    variant: str = "r2d2"
    model: ModelConfig = field(default_factory=ModelConfig)
    objectives: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    system: SystemConfig = field(default_factory=SystemConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)

    @property
    def reads_second_texts(self) -> bool:
        """Whether a step has a contrast with second texts: their weight, and any contrast."""
        cross_only = self.objectives.fgr and self.objectives.second_stage_from == 0
        return self.objectives.weight_second_text > 0 and not self.train.labelled and not cross_only

    def __post_init__(self) -> None:
        if self.objectives.fgr and not self.model.cross_layers:
            raise R2D2Error(
                "objectives.fgr needs model.cross_layers above 0: "
                "variant prd2 is the one without cross encoders"
            )
        if self.objectives.weight_rerank and self.train.labelled:
            raise R2D2Error(
                "objectives.weight_rerank is for retrieval, and train.labelled learns from labels "
                "alone: set objectives.weight_rerank=0"
            )
        if self.objectives.unlabelled_margin is not None and self.train.labelled:
            raise R2D2Error(
                "objectives.unlabelled_margin is about pairs without labels, and train.labelled "
                "learns from labels alone: leave one of them out"
            )
        if self.objectives.second_stage_from < 1 and self.train.schedule != "cosine":
            raise R2D2Error(
                "objectives.second_stage_from begins the learning rate anew, which "
                f"train.schedule={self.train.schedule} does not: set train.schedule=cosine"
            )
        if self.train.lora_rank and self.system.parallel == "fsdp":
            raise R2D2Error(
                "train.lora_rank and system.parallel=fsdp do not go together: LoRA leaves the "
                "large matrices whole; use system.parallel=ddp"
            )


def presets() -> list[str]:
    """Names of the sizes."""
    return sorted(data_files("presets"))


def variants() -> list[str]:
    """Names of the paper's ablations."""
    return sorted(data_files("variants"))


def tuning_tasks() -> list[str]:
    """What there are settings to fine-tune for."""
    return sorted(data_files(f"tuning/{RECOMMENDED}"))


def make_tuning_config(
    task: str, ranks: bool, settings: Sequence[str] = (), tuning: str = RECOMMENDED
) -> Config:
    """Settings to fine-tune a saved model: the task's, then `settings`.

    Args:
        task: retrieval or matching.
        ranks: whether the model has cross encoders (R2D2), or not (PRD2).
        settings: each "group.name=value"; none of the model, whose shape stays as it is.
        tuning: recommended, ours, or official, those of the official scripts.

    Raises:
        R2D2Error: unknown task or setting, a value of the wrong type, or what the model decides.
    """
    one_of("--tuning", tuning, (RECOMMENDED, OFFICIAL))
    variant = "r2d2" if ranks else "prd2"
    data = merge(
        read_preset("variants", "variant", variant), read_preset(f"tuning/{tuning}", "task", task)
    )
    for setting in settings:
        over = parse_setting(setting)
        if decided := sorted(over.keys() & {"model", "preset", "variant"}):
            raise R2D2Error(
                f"setting '{setting}': the model at --init decides {decided[0]}; leave it out"
            )
        data = merge(data, over)
    preset = f"finetune {task}" + (f" ({OFFICIAL})" if tuning == OFFICIAL else "")
    config = from_dict(Config, {"preset": preset, "variant": variant, **data})
    if config.train.train_vocab:
        raise R2D2Error(
            "setting 'train.train_vocab=true': the model at --init has its own tokenizer; leave it "
            "out"
        )
    return config


def read_vocab(settings: Sequence[str], vocab: object) -> tuple[str, ...]:
    """Settings under which a vocab.txt, if one is given, is read, whatever the preset would do."""
    return tuple(settings) if vocab is None else ("train.train_vocab=false", *settings)


def make_config(
    preset: str = "tiny", variant: str = "r2d2", settings: Sequence[str] = ()
) -> Config:
    """A run's settings: the preset, then the variant, then `settings`, each "group.name=value".

    Raises:
        R2D2Error: unknown preset, variant or setting, or a value of the wrong type.
    """
    data = merge(
        read_preset("presets", "preset", preset), read_preset("variants", "variant", variant)
    )
    for setting in settings:
        over = parse_setting(setting)
        for name in ("preset", "variant"):
            if name in over:
                raise R2D2Error(f"setting '{setting}': give --{name} {over[name]} instead")
        data = merge(data, over)
    if data.get("objectives", {}).get("contrast") == "sigmoid":
        data = merge({"model": {"logit_bias": LOGIT_BIAS}}, data)
    return from_dict(Config, {"preset": preset, "variant": variant, **data})
