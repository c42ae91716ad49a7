"""A whole step against plain loops: each text and each pair alone, nothing shared or padded."""

import dataclasses
import math

import pytest
import torch

from helpers.features import is_positive
from helpers.small_step import CONTEXT, MASK, TERMS, batch_of, setup
from r2d2.keyed import Draw, uniform


def unit(linear, state):
    raw = linear.weight @ state + linear.bias
    return raw / raw.square().sum().sqrt()


def image(towers, pixels, kept=None):
    kept = None if kept is None else torch.tensor([kept])
    states = towers.vision(pixels[None], kept)[0]
    return states, unit(towers.image_projection, states[0])


def text(towers, ids):
    states = towers.text(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))[0]
    return states, unit(towers.text_projection, states[0])


def cross(encoder, x, context):
    """One pair alone, every position of every layer."""
    x, context = x[None], context[None]
    for layer in encoder.layers:
        x = layer(x, None, context, None)
    return x[0]


def log_softmax(row):
    row = torch.stack(row)
    return row - row.exp().sum().log()


def unlabelled(query, own, candidate, margin):
    """Whether a candidate that is no positive is more similar than the query's own positive."""
    return margin is not None and bool(query @ candidate > query @ own + margin)


def contrastive(own, other, teacher_own, teacher_other, keys, queued, tau, alpha, margin, shares):
    """One way of TgD, and of GCPR with alpha 0 and nothing queued: (feature, key, weight).

    The share of candidates that are left out is added to `shares`.
    """
    loss, all_keys = 0.0, keys + [k for _, k, _ in queued]
    weights = [1.0] * len(keys) + [w for *_, w in queued]
    candidates = [*other, *(q for q, *_ in queued)]
    teachers = [*teacher_other, *(q for q, *_ in queued)]
    for i in range(len(own)):
        same = [is_positive(keys[i], k) for k in all_keys]
        kept = [
            j for j, c in enumerate(candidates)
            if same[j] or not unlabelled(own[i], other[i], c, margin)
        ]  # fmt: skip
        shares.append(1 - len(kept) / len(candidates))
        log_s = log_softmax([own[i] @ candidates[j] / tau for j in kept])
        soft = [0.0] * len(kept)
        if alpha:
            soft = log_softmax([teacher_own[i] @ teachers[j] / tau for j in kept]).exp().detach()
        for place, j in enumerate(kept):
            target = alpha * soft[place] + (1 - alpha) * same[j] / sum(same)
            loss = loss - weights[j] * target * log_s[place]
    return loss / len(own)


def draw(row, forbidden, share, u):
    """The hard negative of one row, or None."""
    allowed = [j for j in range(len(row)) if not forbidden[j]]
    top, total = max((row[j] for j in allowed), default=0.0), 0.0
    e = {j: math.exp(row[j] - top) for j in allowed}
    for j in allowed:
        total += (1 - share) * e[j] / sum(e.values()) + share / len(allowed)
        if u < total:
            return j
    return None


def naive_step(model, objectives, batch, context):
    config, towers, tau, n = objectives.config, model.towers, model.temperature, len(batch.ids)
    keys, losses = batch.keys.tolist(), {}
    u = {
        d: uniform(context.seed, context.step, d, batch.index, 64).double().tolist()
        for d in (Draw.MASK, Draw.COIN, Draw.NEGATIVE_TEXT, Draw.NEGATIVE_IMAGE)
    }
    u_patches = uniform(context.seed, context.step, Draw.PATCHES, batch.index, 4).tolist()
    clean = [row[real].tolist() for row, real in zip(batch.ids, batch.mask, strict=True)]
    images = [image(towers, p) for p in batch.pixels]
    texts = [text(towers, ids) for ids in clean]

    hidden, broken = [], []  # masked places, masked texts
    for i, ids in enumerate(clean):
        words = range(1, len(ids) - 1)
        places = [j for j in words if u[Draw.MASK][i][j] < config.mask_share]
        if words and not places:
            places = [min(words, key=lambda j: u[Draw.MASK][i][j])]
        hidden.append(places)
        broken.append(text(towers, [MASK if j in places else t for j, t in enumerate(ids)]))

    f_images, f_texts = [f for _, f in images], [f for _, f in texts]
    t_images = t_texts = queued_images = queued_texts = []
    alpha = 0.0
    if objectives.teacher is not None:
        t_images = [image(objectives.teacher, p)[1] for p in batch.pixels]
        t_texts = [text(objectives.teacher, ids)[1] for ids in clean]
    if config.tgd:
        alpha = context.alpha
        q_images, q_texts, q_keys, q_weights = objectives.queue.filled()
        rest = list(zip(q_keys.tolist(), q_weights.tolist(), strict=True))
        queued_images = [(f, *r) for f, r in zip(q_images, rest, strict=True)]
        queued_texts = [(f, *r) for f, r in zip(q_texts, rest, strict=True)]
    margin, shares = config.unlabelled_margin, []
    of_images = f_images, f_texts, t_images, t_texts, keys, queued_texts
    of_texts = f_texts, f_images, t_texts, t_images, keys, queued_images
    losses["tgd" if config.tgd else "gcpr"] = (
        contrastive(*of_images, tau, alpha, margin, shares)
        + contrastive(*of_texts, tau, alpha, margin, shares)
    ) / 2
    if margin is not None:
        losses["unlabelled_contrast"] = torch.tensor(sum(shares) / len(shares)).double()

    if config.fgd:
        loss = 0.0
        for i in range(n):
            kept = sorted(range(4), key=lambda j: u_patches[i][j])[:2]
            part = image(towers, batch.pixels[i], kept)[1]
            for teacher, student in ((t_images[i], part), (t_texts[i], broken[i][1])):
                target = log_softmax(list(teacher / config.teacher_temperature)).exp().detach()
                log_s = log_softmax(list(student / config.student_temperature))
                loss = loss - (target * log_s).sum() / (2 * n)
        losses["fgd"] = loss

    if config.fgr:
        coin = [config.et and u[Draw.COIN][i][0] < config.et_masked_share for i in range(n)]
        assert not config.et or len(set(coin)) == 2  # the batch has both kinds
        seen = [(broken if coin[i] else texts)[i][0] for i in range(n)]
        s = [[(a @ b / tau).item() for b in f_texts] for a in f_images]
        same = [[is_positive(a, b) for b in keys] for a in keys]
        pairs = [(i, i, 1, config.positive_weight) for i in range(n)]
        near = {
            i: [j for j in block_of(i, n, config.list_size) if not same[i][j]] for i in range(n)
        }
        wrong_texts, wrong_images = (
            {i: [j for j in near[i] if not unlabelled(q[i], c[i], c[j], margin)] for i in near}
            for q, c in ((f_images, f_texts), (f_texts, f_images))
        )
        if margin is not None:
            kept = sum(len(x) for side in (wrong_texts, wrong_images) for x in side.values())
            every = 2 * sum(len(x) for x in near.values())
            losses["unlabelled_ranking"] = (every - kept) / (2 * n * (config.list_size or n))
            losses["unlabelled_ranking"] = torch.tensor(losses["unlabelled_ranking"]).double()
        for i in range(n):
            for j in near[i] if config.list_size else []:
                weight = 1 / len(wrong_texts[i]) if j in wrong_texts[i] else 0
                weight += 1 / len(wrong_images[j]) if i in wrong_images[j] else 0
                pairs.append((i, j, 0, weight))
        for i in range(n if not config.list_size else 0):
            others = [j not in wrong_texts[i] for j in range(n)]
            j = draw(s[i], others, context.uniform_share, u[Draw.NEGATIVE_TEXT][i][0])
            pairs += [] if j is None else [(i, j, 0, 1.0)]
        for j in range(n if not config.list_size else 0):
            column, others = [row[j] for row in s], [i not in wrong_images[j] for i in range(n)]
            i = draw(column, others, context.uniform_share, u[Draw.NEGATIVE_IMAGE][j][0])
            pairs += [] if i is None else [(i, j, 0, 1.0)]
        text_loss = image_loss = weights = mlm = tokens = 0.0
        score = {}  # of both stages
        for i, j, label, weight in pairs:
            h_text = cross(model.text_to_image, seen[j], images[i][0])
            projected = model.image_cross_projection(images[i][0])
            h_image = cross(model.image_to_text, projected, seen[j])
            weights += weight
            logits = model.match_head_text(h_text[0]), model.match_head_image(h_image[0])
            score[i, j] = s[i][j] + sum(head[1] - head[0] for head in logits) / 2
            text_loss = text_loss - weight * log_softmax(list(logits[0]))[label]
            image_loss = image_loss - weight * log_softmax(list(logits[1]))[label]
            if label and (coin[i] or not config.et):
                if not config.et:
                    h_text = cross(model.text_to_image, broken[i][0], images[i][0])
                for place in hidden[i]:
                    logits = model.mlm_head(h_text[place], towers.token_embedding)
                    mlm = mlm - log_softmax(list(logits))[clean[i][place]]
                    tokens += 1
        losses["fgr"] = (text_loss / weights + image_loss / weights) / 2
        losses["mlm"] = mlm / tokens
        if config.list_size:
            losses["listwise"] = 0.0
            for i in range(n):
                texts = [(i, j) for j in wrong_texts[i]]
                for others in (texts, [(j, i) for j in wrong_images[i]]):
                    right = log_softmax([score[pair] for pair in ((i, i), *others)])[0]
                    losses["listwise"] = losses["listwise"] - right / (2 * n)
        if config.weight_rerank:
            towers = [[a @ b / tau.detach() for b in f_texts] for a in f_images]
            whole = [not (coin[i] and hidden[i]) for i in range(n)]  # texts that are seen whole
            losses["rerank"] = 0.0
            for i in range(n):
                listed = sorted([i, *near[i]])
                texts = [(i, j) for j in listed if whole[j]]
                images = [(j, i) for j in listed if whole[i]]
                for row in (texts, images):
                    student = [towers[a][b] for a, b in row]
                    teacher = [score[pair].detach() for pair in row]
                    lesson = rerank_of_row(student, teacher, row, i, config.rerank_loss)
                    losses["rerank"] = losses["rerank"] + lesson / (2 * n)
    return losses


def rerank_of_row(student, teacher, row, i, kind):
    """What one query's candidates add, by the order or by the distribution of the teacher."""
    if len(row) < 2:
        return 0.0
    if kind == "kl":
        log_p, log_q = log_softmax(teacher), log_softmax(student)
        return (log_p.exp() * (log_p - log_q)).sum()
    places = range(len(row))
    gaps = [
        student[j] - student[k]
        for j in places for k in places if teacher[j] > teacher[k] and row[k] != (i, i)
    ]  # fmt: skip
    return sum(torch.log(1 + torch.exp(-gap)) for gap in gaps) / max(1, len(gaps))


def block_of(i, n, size):
    """The places of the block of pair i."""
    return range(i - i % size, i - i % size + size) if size else range(n)


CASES = {
    "drawn": {},
    "blocks": {"list_size": 3},
    "taught by kl": {"list_size": 3, "weight_rerank": 1.0},
    "taught by order": {"list_size": 3, "weight_rerank": 1.0, "rerank_loss": "order"},
    "drawn, unlabelled": {"unlabelled_margin": 0.05},
    "blocks, unlabelled": {"list_size": 3, "weight_rerank": 1.0, "unlabelled_margin": -0.02},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("variant", ["r2d2", "wo_et", "prd2", "wo_twd"])
def test_a_step_equals_the_loops_in_value_and_gradient(variant, case):
    terms, settings = set(TERMS[variant]), CASES[case]
    size, ranks = settings.get("list_size", 0), "fgr" in terms
    if size and not ranks:
        pytest.skip("no cross encoders")
    model, objectives = setup(variant, **settings, weight_listwise=float(size > 0))
    terms |= ({"listwise"} if size else set()) | ({"rerank"} if "taught" in case else set())
    if "unlabelled" in case:
        terms |= {"unlabelled_contrast"} | ({"unlabelled_ranking"} if ranks else set())
        terms |= {"rerank"} if size else set()
    context = dataclasses.replace(CONTEXT, group_size=size)
    batch = batch_of(padding=3)
    batch = dataclasses.replace(batch, index=batch.index - 1)  # places at which a block begins
    ours, theirs = (
        objectives(model, batch, context).losses,
        naive_step(model, objectives, batch, context),
    )
    assert theirs.keys() == terms
    for name, loss in theirs.items():
        torch.testing.assert_close(ours[name].double(), loss, atol=1e-5, rtol=1e-6, msg=name)
    shares = {name: loss.item() for name, loss in theirs.items() if "unlabelled" in name}
    assert all(0.02 < share < 0.6 for share in shares.values())
    total = sum(loss for name, loss in theirs.items() if name not in shares)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = (torch.autograd.grad(loss, parameters) for loss in (ours["total"], total))
    for name, a, b in zip(names, *gradients, strict=True):
        assert b.isfinite().all(), name
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=name)
        assert b.abs().max() > 1e-4 or "key_value.bias" in name, name  # large enough to be compared
