"""The model card of an exported folder: what the model's own folder tells, and nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import r2d2
from r2d2.config import to_dict
from r2d2.errors import R2D2Error
from r2d2.evaluation.run import about_of, read_metrics
from r2d2.evaluation.task_metrics import STAGES
from r2d2.pretrained import Pretrained
from r2d2.ranking.metrics import RECALLS
from r2d2.saved_model import SHIPPED
from r2d2.table import PairsTable
from r2d2.training.run_folder import METRICS, MODEL, saved_run, saved_summary
from r2d2.weights.hub import is_hub_id

CARD = "README.md"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # as the hub spells SPDX's names
_COLUMNS = (*RECALLS, "r_mean")
_PACKAGE = [
    "The folder has no code in it: the class comes from the installed package (`pip install "
    '"zero-r2d2[st]"`), and sentence-transformers asks for `trust_remote_code=True` for every '
    "class that is not its own."
]
_NAMED = {
    "matching": ("auc", "average_precision", "accuracy"),
    "classification": ("top1", "top5"),
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What the user adds to what the model's folder tells."""

    licence: str | None = None  # of the weights, as the hub spells it: apache-2.0
    figures: Sequence[Path] = ()  # folders that `r2d2 evaluate` wrote for this model

    def check(self) -> None:
        """R2D2Error where a licence is not spelled as the hub does, or a folder has no figures."""
        if self.licence is not None and not _LICENCE.fullmatch(self.licence):
            raise R2D2Error(
                f"--licence {self.licence}: give it as the hub spells it, such as apache-2.0, "
                "cc-by-nc-4.0 or other"
            )
        for folder in self.figures:
            about_of(read_metrics(folder), folder)


@dataclass(frozen=True)
class ModelRecord:
    """What is known of a model: by the folder of its run, and by the figures that are given."""

    licence: str | None
    run: Mapping[str, Any] | None  # run.json; None: it lies in no run's folder
    summary: Mapping[str, Any] | None  # training.json; None: no training has ended there
    measured: Sequence[Mapping[str, Any]]  # metrics.json of each evaluation


def read_record(source: str | Path, model: Pretrained, card: Card) -> ModelRecord:
    """Read all that the cards of a model tell, before anything is written.

    Raises:
        R2D2Error: figures that are of another model, or a damaged file in the run's folder.
    """
    folder = _run_folder(source)
    own = [folder / METRICS] if folder is not None and (folder / METRICS).exists() else []
    measured = []
    for path in (*own, *card.figures):
        metrics = read_metrics(path)
        if path in own and "run" not in metrics:  # of a fine-tuning, which has no table of them
            continue
        name = about_of(metrics, path)["model"]
        if path in card.figures and name != model.name:
            raise R2D2Error(
                f"{path} has figures of the model {name}, and this one is {model.name}: give "
                "figures of this model"
            )
        measured.append(metrics)
    run = None if folder is None else saved_run(folder)
    summary = None if folder is None else saved_summary(folder)
    return ModelRecord(card.licence, run, summary, measured)


def write_cards(work: Path, model: Pretrained, record: ModelRecord, *, trust: bool = False) -> None:
    """README.md of the folder, and of cross-encoder/ where it is there.

    `trust`: the folder names a class of this package.
    """
    body = [
        *_data(record.run),
        *_licence(record.licence),
        *_settings(record, model),
        *_figures(record.measured),
    ]
    head = _head(model, record)
    (work / CARD).write_text("\n".join([*head, *_use(work, model, trust), *body]), encoding="utf-8")
    inner = work / "cross-encoder"
    if inner.is_dir():
        lines = [*_head(model, record, pairs=True), *_use_pairs("."), *body]
        (inner / CARD).write_text("\n".join(lines), encoding="utf-8")


def _run_folder(source: str | Path) -> Path | None:
    """The folder of the run whose model this is; None: there is none here.

    Not of another model that it holds, as that of its best epoch: its figures are those of model/.
    """
    if source == SHIPPED:  # whatever lies here
        return None
    source = Path(source)
    named = str(source) if source.name == MODEL else f"{source}/{MODEL}"
    run = Path(named).parent
    return run if run.is_dir() and saved_run(run) is not None else None


def _head(model: Pretrained, record: ModelRecord, *, pairs: bool = False) -> list[str]:
    about: dict[str, Any] = {
        "language": ["zh"],
        "library_name": "sentence-transformers",
        "pipeline_tag": "text-ranking" if pairs else "feature-extraction",
        "tags": ["sentence-transformers", "image-text-retrieval", "r2d2"],
    }
    if record.licence is not None:
        about["license"] = record.licence
    init = str((record.run or {}).get("init") or "")
    if is_hub_id(init):
        about["base_model"] = init.partition("@")[0]
    what = (
        "Scores pairs of a Chinese text and a picture." if pairs
        else "Encodes Chinese texts and pictures into one space."
    )  # fmt: skip
    front = yaml.safe_dump(about, sort_keys=False, allow_unicode=True).rstrip()
    made = f"Written by r2d2 {r2d2.__version__} (`r2d2 export hf`)."
    return ["---", front, "---", "", f"# {model.name}", "", f"{what} {made}", ""]


def _use(work: Path, model: Pretrained, trust: bool) -> list[str]:
    more = ", trust_remote_code=True" if trust else ""
    lines = [
        "## Use", "", "```python", "from PIL import Image",
        "from sentence_transformers import SentenceTransformer", "",
        f'model = SentenceTransformer("DIR"{more})  # this folder',
        'pictures = model.encode([Image.open("cat.jpg").convert("RGB")])',
        f'texts = model.encode(["窗台上的橘猫"])  # (1, {model.embed_dim}), unit length',
        "print(model.similarity(texts, pictures))", "```", "",
        "Turn pictures upright by their EXIF (`PIL.ImageOps.exif_transpose`) and lay transparent "
        "ones on white first, as r2d2 does by itself. Texts are cut at "
        f"{model.tokenizer.max_length} tokens.", "",
    ]  # fmt: skip
    lines += [*_PACKAGE, ""] if trust else []
    if (work / "config.json").is_file() and not trust:
        lines += ["`transformers.AutoModel` and `AutoProcessor` open this folder, too.", ""]
    if (work / "cross-encoder").is_dir():
        lines += _use_pairs("DIR/cross-encoder")
    return lines


def _use_pairs(folder: str) -> list[str]:
    return [
        "## Rank again", "", "```python", "from sentence_transformers import CrossEncoder", "",
        f'ranker = CrossEncoder("{folder}", trust_remote_code=True)',
        'print(ranker.predict([("窗台上的橘猫", Image.open("cat.jpg"))]))  # 0 to 1', "```", "",
        *_PACKAGE, "",
    ]  # fmt: skip


def _data(run: Mapping[str, Any] | None) -> list[str]:
    lines = ["## Data", ""]
    if run is None:
        return [*lines, "The folder of this model does not tell what it was trained on.", ""]
    path = str(run["table"])
    lines.append(
        f"Trained on the pairs table `{Path(path).name}`, fingerprint `{run['fingerprint']}`."
    )
    if run.get("init"):
        init = str(run["init"])
        named = init if is_hub_id(init) or "/" not in init else Path(init).name
        lines.append(f"Started from the weights of `{named}`.")
    try:
        table = PairsTable.open(path)
        if table.fingerprint == run["fingerprint"]:
            splits = ", ".join(f"{name} {rows:,}" for name, rows in table.splits().items())
            lines += ["", f"Rows: {splits}.", ""]
            lines += [f"- {key}: {value}" for key, value in table.metadata.items()]
    except R2D2Error:
        lines.append("The table is no longer where it was, so nothing more is known of it.")
    return [*lines, ""]


def _licence(licence: str | None) -> list[str]:
    told = (
        "Whoever wrote this card did not state a licence. What holds for the data and for the "
        "weights that the training started from holds for these."
        if licence is None else f"Weights: {licence}."
    )  # fmt: skip
    return ["## Licence", "", told, ""]


def _settings(record: ModelRecord, model: Pretrained) -> list[str]:
    settings = dict(record.run["config"]) if record.run else {}
    settings["model"] = to_dict(model.model.config)
    hf_towers = settings["model"].get("hf_towers")
    if hf_towers:  # its config.json lies in this folder
        settings["model"]["hf_towers"] = {"kind": hf_towers["kind"]}
    if model.has_match:
        settings["second_stage"] = {"match_weight": model.match_weight, "top_k": model.top_k}
    numbers = sum(p.numel() for p in model.model.parameters())
    lines = ["## Settings", "", f"{numbers:,} parameters."]
    if record.summary:
        lines.append(f"{record.summary['steps']:,} steps of training.")
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip()
    return [*lines, "", "```yaml", text, "```", ""]


def _figures(measured: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["## Figures", ""]
    if not measured:
        return [*lines, "None were given: measure the model by `r2d2 evaluate`.", ""]
    for metrics in measured:
        splits = {name: figures for name, figures in metrics.items() if isinstance(figures, dict)}
        recalls = [
            (split, stage, figures[stage])
            for split, figures in splits.items() for stage in STAGES if stage in figures
        ]  # fmt: skip
        if recalls:
            names = " | ".join(_COLUMNS)
            lines += [f"| split | stage | {names} |", "|---" * (2 + len(_COLUMNS)) + "|"]
        for split, stage, figures in recalls:
            cells = " | ".join(_cell(figures.get(name)) for name in _COLUMNS)
            lines.append(f"| `{split}` | {STAGES[stage]} | {cells} |")
        for split, by_task in splits.items() if not recalls else ():
            for task, names_of in _NAMED.items():
                if isinstance(figures := by_task.get(task), dict):
                    cells = ", ".join(f"{n} {_cell(figures[n])}" for n in names_of if n in figures)
                    lines.append(f"- `{split}`, {task}: {cells}")
        lines += ["", "```sh", _command(metrics), "```", ""]
    return lines


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "–"


def _command(metrics: Mapping[str, Any]) -> str:
    """What measures these figures again, on a table of that fingerprint."""
    about = metrics["run"]
    table = Path(str(about["table"])).name
    words = ["r2d2", "evaluate", str(about["task"]), str(about["model"]), table]
    splits = [
        name for name, found in metrics.items() if isinstance(found, dict) and "chance" in found
    ]
    if "test_full" in splits:
        words.append("--full")
    for option, name in (("--benchmark", "benchmark"), ("--sample", "sample")):
        if about.get(name) is not None:
            words += [option, str(about[name])]
    if "weight" in metrics:
        words += ["--weight", f"{metrics['weight']:g}", "--candidates", str(metrics["top_k"])]
    words += ["--out", "eval"]
    return f"{shlex.join(words)}    # table of fingerprint {about['fingerprint']}"
