"""Run an ablation from its plan to its reports."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from r2d2.ablation.document import (
    Document,
    ReportTable,
    cost_rows,
    document,
    markdown,
)
from r2d2.ablation.page import page
from r2d2.ablation.runs import RUNS, Arm, check_arms, run_arms
from r2d2.ablation.shares import TRAIN, curve_png, share_table
from r2d2.ablation.speed import ArmSpeed, equal_epochs, measure_speeds
from r2d2.ablation.summary import TASKS, ArmSummary, as_dict, mean_spread, summarise
from r2d2.config import Config, make_config, read_vocab, variants
from r2d2.data.emoji import ATTRIBUTION, build_emoji_table
from r2d2.errors import R2D2Error
from r2d2.files import try_place, write_bytes, write_text
from r2d2.settings import named_settings, one_of
from r2d2.table import PairsTable
from r2d2.training.pretrain import check_vocab
from r2d2.used_settings import check_used, tell_idle

log = logging.getLogger(__name__)

TABLE = "pairs.lance"
SWITCHES = tuple(f"objectives.{name}" for name in ("tgd", "fgd", "fgr", "mlm", "et"))
DEPTH = "model.cross_layers"
ALL = ("r2d2", "prd2", "wo_et", "wo_twd", "wo_tgd", "wo_fgd")


@dataclass(frozen=True)
class AblationPlan:
    """The runs of an ablation."""

    # The others are compared with the first. Empty: all variants, or only r2d2 where there are
    # `shares`.
    variants: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    preset: str = "tiny"
    settings: tuple[str, ...] = ()
    # Seconds of training that each run gets; 0: as many as the first variant takes; None: all runs
    # have the same number of epochs instead.
    equal_time: float | None = None
    shares: tuple[float, ...] = ()  # shares of the training split, for a curve over its rows

    def __post_init__(self) -> None:
        if not self.variants:
            object.__setattr__(self, "variants", ALL[:1] if self.shares else ALL)
        if self.shares and len(self.variants) > 1:
            raise R2D2Error(
                f"--data-shares is of one variant: leave {', '.join(self.variants[1:])} out"
            )
        if self.equal_time and "train.epochs" in named_settings(self.settings):
            raise R2D2Error("--equal-time decides the epochs: leave --set train.epochs out")
        for name, values in (("variants", self.variants), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise R2D2Error(
                    f"--{name} {', '.join(map(str, values))}: name at least one, and each only once"
                )
        for variant in self.variants:
            one_of("--variants", variant, variants())
        if any(not 0 < share <= 1 for share in self.shares):
            raise R2D2Error("--data-shares: each must be above 0 and at most 1")
        if self.shares and (1.0 not in self.shares or len(set(self.shares)) < len(self.shares)):
            raise R2D2Error("--data-shares: name each once, and 1 among them")
        if self.shares and self.equal_time is not None:
            raise R2D2Error("--data-shares takes as many steps for each: leave --equal-time out")
        if self.equal_time is not None and self.equal_time < 0:
            raise R2D2Error("--equal-time is below 0: give seconds, or 0")
        for setting in self.settings:
            name = setting.partition("=")[0].strip()
            if name == "train.seed":
                raise R2D2Error("--set train.seed: give --seeds instead")
            if name in SWITCHES:
                raise R2D2Error(f"--set {name}: that is what the variants differ in; leave it out")

    def config(self, variant: str) -> Config:
        """Return the configuration of one variant."""
        has_cross = (
            variant != "prd2"
        )  # the depth of cross encoders applies only where there are any
        settings = [s for s in self.settings if has_cross or not s.startswith(DEPTH)]
        return make_config(self.preset, variant, settings)


def ablate(
    table_path: str | Path | None, out: Path, plan: AblationPlan, vocab: str | Path | None = None
) -> list[Path]:
    """Do the runs that are missing, and write the reports again after every seed.

    Args:
        table_path: a pairs table with a split `train`; None: the embedded corpus.
        out: the folder for runs and reports; runs that are already in it are used.
        plan: the runs to do.
        vocab: see `pretrain`.

    Returns:
        The paths of the reports.

    Raises:
        R2D2Error: a setting, the table or the folder does not fit.
        RunStoppedError: a signal stopped the run; the same command continues it.
    """
    check_ablation(out, plan)
    plan = replace(plan, settings=read_vocab(plan.settings, vocab))
    configs = [plan.config(variant) for variant in plan.variants]
    for config in configs:  # a wrong setting is refused before any work is done
        check_vocab(config, vocab)
    check_used(plan.settings, "ablate")
    tell_idle(configs, plan.settings)
    if table_path is None:
        table_path = out / TABLE
        if not table_path.exists():
            log.info("building the embedded corpus at %s", table_path)
            build_emoji_table(table_path)
        elif PairsTable.open(table_path).metadata.get("title") != ATTRIBUTION["title"]:
            raise R2D2Error(f"{table_path} is not the embedded corpus: give another --out")
    table = PairsTable.open(table_path)
    tasks = [task for task in TASKS if task in table.splits()]
    if not tasks:
        raise R2D2Error(
            f"{table.path} has no split to test on (it has {', '.join(table.splits())}): it needs "
            "test, test_novel or both"
        )
    if plan.shares:
        return _data(table, out, plan, vocab)
    return _variants(table, out, plan, vocab)


def check_ablation(out: Path, plan: AblationPlan) -> None:
    """Raise R2D2Error where the reports cannot be written, or would replace other files."""
    if out.exists() and not out.is_dir():
        raise R2D2Error(f"{out} is a file: give a folder")
    if not (out / RUNS).is_dir():
        for path in _reports(out, plan):
            if path.exists():
                raise R2D2Error(f"{path} is of no ablation: give another --out")
    try_place(out / RUNS)


def _reports(out: Path, plan: AblationPlan) -> list[Path]:
    """Return the paths of the reports, JSON first."""
    if plan.shares:
        return [out / f"data.{ending}" for ending in ("json", "md", "png")]
    name = "ablation" if plan.equal_time is None else "equal-time"
    return [out / f"{name}.{ending}" for ending in ("json", "md", "html")]


def _variants(
    table: PairsTable, out: Path, plan: AblationPlan, vocab: str | Path | None
) -> list[Path]:
    rows = len(table.rows(TRAIN))
    arms = [Arm(variant, plan.config(variant), table.path, rows) for variant in plan.variants]
    if plan.equal_time is None:
        check_arms(arms, plan.seeds, out)
    speeds = measure_speeds(arms, out, vocab)
    title = "Ablation, equal epochs"
    if plan.equal_time is not None:
        arms = [_timed(arm, arms[0], speeds, plan.equal_time) for arm in arms]
        title = "Ablation, equal time"
    paths = _reports(out, plan)
    costs = cost_rows(arms, speeds)
    for runs in run_arms(arms, plan.seeds, out, table, vocab):
        summaries = summarise(runs, arms[0].name)
        shown = document(title, arms, summaries, costs, rows, plan.settings)
        data = {"plan": asdict(plan), "rows": rows, "costs": costs, "arms": as_dict(summaries)}
        _write(paths, data, markdown(shown), page(shown, summaries))
    return paths


def _timed(arm: Arm, first: Arm, speeds: dict[str, ArmSpeed], seconds: float) -> Arm:
    """Return the arm with as many epochs as fit into `seconds`; 0 means the first arm's time."""
    train = first.config.train
    if not seconds:
        if arm is first:
            return arm
        seconds = train.epochs * arm.rows / train.batch_size * speeds[first.name].seconds
    epochs = equal_epochs(seconds, speeds[arm.name], arm.rows, arm.config.train.batch_size)
    return _epochs(arm, epochs)


def _epochs(arm: Arm, epochs: int) -> Arm:
    train = replace(arm.config.train, epochs=epochs)
    return replace(arm, config=replace(arm.config, train=train))


def _data(table: PairsTable, out: Path, plan: AblationPlan, vocab: str | Path | None) -> list[Path]:
    variant = plan.variants[0]
    config = plan.config(variant)
    all_rows = len(table.rows(TRAIN))
    arms = []
    for share in sorted(plan.shares, reverse=True):  # all rows first, as the baseline of the others
        path, rows = share_table(table, out, share)
        arm = Arm(f"{share:.0%}", config, path, rows, share)
        arms.append(_epochs(arm, max(1, round(config.train.epochs * all_rows / rows))))
    paths = _reports(out, plan)
    for runs in run_arms(arms, plan.seeds, out, table, vocab):
        summaries = summarise(runs, arms[0].name)
        data = {
            "plan": asdict(plan),
            "rows": [arm.rows for arm in arms],
            "arms": as_dict(summaries),
        }
        shown = _data_document(variant, arms, summaries)
        write_bytes(paths[2], curve_png(summaries, [arm.rows for arm in arms]))
        _write(paths[:2], data, markdown(shown) + f"\n![R@M over rows]({paths[2].name})\n")
    return paths


def _data_document(variant: str, arms: Sequence[Arm], summaries: Sequence[ArmSummary]) -> Document:
    """Return the curve over the number of rows as a table."""
    tasks = [task for task in TASKS if (task, "r_mean") in summaries[0].values]
    figures = [(task, name) for task in tasks for name in ("r_mean", "auc")]
    names = {"r_mean": "R@M", "auc": "AUC"}
    rows = []
    for arm, summary in sorted(zip(arms, summaries, strict=True), key=lambda pair: pair[0].rows):
        cells = [mean_spread(summary.values[key]) for key in figures]
        epochs = str(arm.config.train.epochs)
        rows.append((arm.name, f"{arm.rows:,}", epochs, *cells, str(len(summary.seeds))))
    columns = ("share", "rows", "epochs", *(f"{t} {names[n]}" for t, n in figures), "seeds")
    about = (
        "Each share is trained for the same number of steps. A smaller share lies within a larger "
        "one. All are measured on the same whole test sets. The mean over seeds in %, and in "
        "brackets the largest value less the smallest."
    )
    return Document(
        f"More data: {variant}", about, (ReportTable("Figures", "", columns, tuple(rows)),)
    )


def _write(paths: Sequence[Path], data: object, *texts: str) -> None:
    """Write the data as JSON to the first path, and the texts to the others."""
    plain = json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False)
    for path, text in zip(paths, (plain + "\n", *texts), strict=True):
        write_text(path, text)
