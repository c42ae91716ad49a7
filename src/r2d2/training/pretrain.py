"""Pre-training: from a pairs table and settings to a model."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from r2d2.config import Config, to_dict
from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.pretrained import Pretrained
from r2d2.table import PairsTable
from r2d2.tokenizer import Tokenizer
from r2d2.training.run_folder import MODEL, SUMMARY, TOKENIZER, check_folder, check_run, remember
from r2d2.training.trainer import Trainer, TrainSummary


def pretrain(
    table_path: str | Path,
    out: str | Path,
    config: Config,
    *,
    resume: bool = False,
    vocab: str | Path | None = None,
) -> TrainSummary:
    """Train on a table's split `train` and write the model to `out`/model.

    Args:
        table_path: a pairs table.
        out: the run's folder.
        config: settings.
        resume: go on with the run that is there; without it such a folder is refused.
        vocab: a BERT vocab.txt, for presets that do not train a tokenizer of their own.

    Raises:
        R2D2Error: whatever the user can mend.
        RunStoppedError: a signal came.
    """
    out = Path(out)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    table = PairsTable.open(table_path)
    check_folder(out, resume=resume)
    run = {"config": to_dict(config), "table": str(table_path), "fingerprint": table.fingerprint}
    check_run(out, run)
    trainer = Trainer(table, out, config, _tokenizer(table, out, config, vocab))
    remember(out, run)  # not before all this succeeded: what the user mends starts anew
    trainer.tokenizer.save(out / TOKENIZER)
    if resume:
        trainer.restore()
    summary = trainer.run() if trainer.step < trainer.steps else trainer.summary()
    write_text(out / SUMMARY, json.dumps(summary.as_dict(), indent=1))
    top_k = config.evaluation.top_k
    Pretrained(trainer.model, trainer.tokenizer, top_k=top_k).save(out / MODEL)
    return summary


def _tokenizer(table: PairsTable, out: Path, config: Config, vocab: str | Path | None) -> Tokenizer:
    """The run's own where it has one, else trained on the split, or read from a BERT vocab.txt."""
    saved = out / TOKENIZER
    if saved.exists():
        return Tokenizer.load(saved)
    max_length = config.model.text.max_length
    if config.train.train_vocab:
        texts = (t.text for row in table.texts(table.rows("train")) for t in row)
        return Tokenizer.train(texts, config.model.text.vocab_size, max_length)
    if vocab is None:
        raise R2D2Error(
            f"preset {config.preset} reads its tokenizer from a BERT vocab.txt: give --vocab FILE, "
            "or --set train.train_vocab=true to train one on this table"
        )
    return Tokenizer.from_vocab(vocab, max_length)
