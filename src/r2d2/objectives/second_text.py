"""The contrast of pictures with their second texts, such as a long text beside a short one.

FG-CLIP 2 (arXiv 2510.10921) learns from both texts in one step. A picture that has only one text is
left out of this contrast, as a row and as a candidate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from r2d2.objectives.batch import SecondTextFeatures
from r2d2.objectives.collectives import Collectives
from r2d2.objectives.gcpr import Gather, hard_targets, positives
from r2d2.objectives.precision import exact
from r2d2.objectives.unlabelled import UnlabelledCandidates, log_softmax_without, nearer_than_own


class PresentPairs:
    """The k pictures of this process that have a second text; all processes have K of them."""

    def __init__(
        self,
        images: Tensor,
        image_keys: Tensor,
        first_text_keys: Tensor,
        second: SecondTextFeatures,
        collectives: Collectives,
    ) -> None:
        """Select the pairs.

        Args:
            images: (n, d) f_I.
            image_keys: (n,) int64.
            first_text_keys: (n,) int64, of the texts of the first contrast.
            second: of the same pictures.
            collectives: the processes.
        """
        self._n = len(images)
        self._rows = second.present.nonzero()[:, 0]
        self._collectives = collectives
        self._present_in_all = collectives.gather(second.present.to(torch.uint8)).bool()
        self.images = images[self._rows]  # (k, d)
        self.texts = second.texts[self._rows]  # (k, d)
        image, text = image_keys[self._rows], second.keys[self._rows]
        # A picture matches the second texts of the same picture, and second texts that equal its
        # first or second text. `positives` compares keys column by column, so the key of the second
        # text stands in two columns of `text_keys`, once for each text key of `image_keys`.
        self.image_keys = torch.stack([image, first_text_keys[self._rows], text], dim=1)  # (k, 3)
        self.text_keys = torch.stack([image, text, text], dim=1)  # (k, 3)
        k = torch.tensor(float(len(self._rows)), device=images.device)
        # The mean over this process's k pairs is multiplied by this share, so that the mean over
        # the processes is the mean over all K pairs.
        self.share = k / collectives.average(k).clamp(min=1e-6)  # ()

    def gather(self, x: Tensor) -> Tensor:
        """Join (k, ...) over the processes to (K, ...), with gradient.

        k differs between processes, but they must send tensors of the same size, so the rows are
        padded to n.
        """
        filled = x.new_zeros(self._n, *x.shape[1:]).index_copy(0, self._rows, x)
        return self._collectives.gather(filled)[self._present_in_all]

    def unlabelled(self, margin: float) -> UnlabelledCandidates:
        """Second texts (k, K) of each picture, and pictures of each second text."""
        of_images = positives(self.image_keys, self.gather(self.text_keys))
        of_texts = positives(self.text_keys, self.gather(self.image_keys))
        images, texts = self.images.detach(), self.texts.detach()
        return UnlabelledCandidates(
            nearer_than_own(images, texts, self.gather(texts), of_images, margin),
            nearer_than_own(texts, images, self.gather(images), of_texts, margin),
        )


@exact
def softmax_contrast(
    images: Tensor,
    texts: Tensor,
    image_keys: Tensor,
    text_keys: Tensor,
    temperature: Tensor,
    gather: Gather,
    unlabelled: UnlabelledCandidates | None = None,
) -> Tensor:
    """L = 1/2 mean_i [CE(y^I_i, s(I_i, .)) + CE(y^T_i, s(T_i, .))], as in `gcpr`; 0 without pairs.

    Args:
        images: (k, d) f_I.
        texts: (k, d) f_T of the second texts.
        image_keys: (k, 3) int64, the keys of the picture, its first text and its second text.
        text_keys: (k, 3) int64, the keys of the picture and, twice, of the second text.
        temperature: tau.
        gather: joins the ranks' features, with gradient.
        unlabelled: candidates (k, K) that are left out of the softmax; None: none are.
    """

    def one_direction(
        queries: Tensor,
        candidates: Tensor,
        keys: Tensor,
        candidate_keys: Tensor,
        left_out: Tensor | None,
    ) -> Tensor:
        y = hard_targets(positives(keys, gather(candidate_keys)))
        logits = (queries @ gather(candidates).T / temperature).float()
        log_s = log_softmax_without(logits, left_out)
        return -(y * log_s).sum() / max(1, len(queries))

    of_images, of_texts = (None, None) if unlabelled is None else unlabelled.directions
    image_to_text = one_direction(images, texts, image_keys, text_keys, of_images)
    text_to_image = one_direction(texts, images, text_keys, image_keys, of_texts)
    return (image_to_text + text_to_image) / 2
