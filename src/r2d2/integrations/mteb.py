"""Models as mteb measures them: the towers, the cross encoders, and both stages together.

    import mteb
    mteb.evaluate(R2D2Search("runs/mine"), chinese_tasks(["coco-cn.lance"]), cache=None)

Any model that `r2d2.load` opens; the tasks are in mteb_tasks.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.encode import encode_pictures, encode_sentences
from r2d2.evaluation.pairs import match_scores
from r2d2.evaluation.settings import BATCH_SIZE
from r2d2.evaluation.states import StateStore
from r2d2.extras import require
from r2d2.model.encoded_states import EncodedStates
from r2d2.models import load
from r2d2.ranking.two_stage import below_candidates, two_stage_scores

LEAST = "2.20"
USE = "measuring by mteb"
KINDS: dict[str, type] = {"image": Image.Image, "text": str}  # what a batch of mteb may hold
Scores = dict[str, dict[str, float]]  # query id: document id: score


class R2D2Model:
    """What mteb asks of every model; its constructor is the one that mteb's command calls."""

    kinds: tuple[str, ...] = ("dense",)

    def __init__(
        self, model_name: str, revision: str | None = None, *, device: str | None = None, **_: Any
    ) -> None:
        """R2D2Error: as `r2d2.load`; or it lacks cross encoders that are needed."""
        require("mteb", "mteb", USE, LEAST)
        self.model = load(model_name if revision is None else f"{model_name}@{revision}", device)
        if "cross-encoder" in self.kinds and (reason := self.model.why_not("match")):
            raise R2D2Error(reason)

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb notes of the model; a hash of its weights is its revision."""
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        model, stages = self.model, "-".join(self.kinds)
        network = getattr(model, "model", None)
        count = None if network is None else sum(p.numel() for p in network.parameters())
        return ModelMeta(
            loader=type(self), name=f"r2d2/{model.name}-{stages}", revision=model.fingerprint,
            release_date=None, languages=["zho-Hans"], n_parameters=count, memory_usage_mb=None,
            max_tokens=model.tokenizer.max_length, embed_dim=model.embed_dim, license=None,
            open_weights=None, public_training_code=None, public_training_data=None,
            framework=["PyTorch"], similarity_fn_name=ScoringFunction.COSINE,
            use_instructions=False, training_datasets=None, modalities=["image", "text"],
            model_type=list(self.kinds),
        )  # fmt: skip

    def _encode(self, items: Sequence[Any]) -> EncodedStates:
        """Texts, or pictures."""
        if isinstance(items[0], str):
            return self.model.encode_texts(items)
        return self.model.encode_images(items)


class R2D2Encoder(R2D2Model):
    """The towers: texts and pictures to embeddings; prompts are not used."""

    def encode(
        self, inputs: Any, *, task_metadata: Any, hf_split: str, hf_subset: str,
        prompt_type: Any = None, **_: Any,
    ) -> npt.NDArray[np.float32]:  # fmt: skip
        """(n, d) of unit length, of the batches of a data loader."""
        parts = [self._encode(items).embedding.float().cpu() for items in _batches(inputs)]
        if not parts:
            return np.zeros((0, self.model.embed_dim), np.float32)
        return torch.cat(parts).numpy()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines (n, m) of embeddings of unit length."""
        return torch.as_tensor(embeddings1) @ torch.as_tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines (n,) of embedding i with embedding i."""
        return (torch.as_tensor(embeddings1) * torch.as_tensor(embeddings2)).sum(-1)


class R2D2CrossEncoder(R2D2Model):
    """The cross encoders: pairs of a text and a picture to match scores, in [0, 1]."""

    kinds = ("cross-encoder",)

    def predict(
        self, inputs1: Any, inputs2: Any, *, task_metadata: Any, hf_split: str, hf_subset: str,
        prompt_type: Any = None, **_: Any,
    ) -> npt.NDArray[np.float32]:  # fmt: skip
        """(m,) of the pairs of two data loaders, item i of one with item i of the other.

        Raises:
            R2D2Error: the loaders differ in length, or do not hold texts and pictures.
        """
        queries, documents = (list(chain.from_iterable(_batches(x))) for x in (inputs1, inputs2))
        if len(queries) != len(documents):
            raise R2D2Error(
                f"there are {len(queries)} queries and {len(documents)} documents: give as many of "
                "each"
            )
        pairs = list(zip(queries, documents, strict=True))
        if len({(isinstance(q, str), isinstance(d, str)) for q, d in pairs}) > 1 or any(
            isinstance(q, str) == isinstance(d, str) for q, d in pairs[:1]
        ):
            raise R2D2Error(
                "the cross encoders score texts with pictures only: give texts in one input and "
                "pictures in the other"
            )
        scores = [torch.zeros(0)]
        for start in range(0, len(pairs), BATCH_SIZE):
            part = pairs[start : start + BATCH_SIZE]
            sides = [self._encode(side) for side in zip(*part, strict=True)]
            if isinstance(part[0][0], str):
                sides.reverse()
            scores.append(self.model.match(*sides).float().cpu())
        return torch.cat(scores).numpy()


class R2D2Search(R2D2Model):
    """Both stages: cosines rank the corpus, the cross encoders the best `top_k` again.

    Weight and top_k are the model's own, as for `r2d2 search`; set them there to change them.
    """

    kinds = ("dense", "cross-encoder")
    _corpus: StateStore | None = None  # None: not yet indexed

    def index(self, corpus: Any, *, encode_kwargs: Any = None, **_: Any) -> None:
        """Encode the corpus; hidden states go to a temporary file."""
        self._ids = list(corpus["id"])
        self._corpus, self._shown = self._stored(corpus, encode_kwargs)

    def search(
        self, queries: Any, *, top_k: int, encode_kwargs: Any = None,
        top_ranked: Any = None, **_: Any,
    ) -> Scores:  # fmt: skip
        """Document ids and scores of each query; the order of the scores is the ranking."""
        if top_ranked is not None:
            raise R2D2Error("both stages rank whole corpora: rerank with R2D2CrossEncoder")
        if self._corpus is None:
            raise R2D2Error("there is no corpus to search: call index(corpus) first")
        asking, pictures = self._stored(queries, encode_kwargs)
        if pictures == self._shown:
            raise R2D2Error("these models rank pictures for texts, and texts for pictures")
        model, found = self.model, {}
        for n, name in enumerate(queries["id"]):
            cosine = (self._corpus.embedding.double() @ asking.embedding[n].double()).cpu()
            order = cosine.argsort(descending=True, stable=True)[:top_k]
            again = order[: model.top_k]
            sides = (self._corpus, asking), (again, torch.full_like(again, n))
            (images, texts), places = sides if self._shown else (sides[0][::-1], sides[1][::-1])
            scores = below_candidates(cosine, model.match_weight)
            match = match_scores(model, images, texts, *places).double()
            scores[again] = two_stage_scores(cosine[again], match, model.match_weight)
            found[str(name)] = {self._ids[i]: float(scores[i]) for i in order.tolist()}
        return found

    def _stored(self, items: Any, options: Any) -> tuple[StateStore, bool]:
        """A dataset of mteb's encoded, and whether it is of pictures."""
        size = int((options or {}).get("batch_size", BATCH_SIZE))
        if "image" not in items.column_names:
            return encode_sentences(self.model, items["text"], size), False
        ids = list(items["id"])
        data = EvaluationSet(ids, [""] * len(ids), [], [], lambda at: items[list(at)]["image"])
        return encode_pictures(self.model, data, size)[1], True


def _batches(loader: Any) -> Iterator[list[Any]]:
    """Texts, or pictures, of each batch that has some."""
    for batch in loader:
        names = [name for name in KINDS if name in batch]
        if len(names) > 1:
            raise R2D2Error("these models take texts or pictures, not both in one input")
        items = list(batch[names[0]]) if names else []
        if not names or not all(isinstance(item, KINDS[names[0]]) for item in items):
            raise R2D2Error(
                "these models take texts and pictures: give texts, or pictures as PIL.Image"
            )
        if items:
            yield items
