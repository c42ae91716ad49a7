"""One step of every variant, whole: against plain loops, and what must never show in it."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from r2d2.config import ModelConfig, ObjectiveConfig, TextConfig, VisionConfig, make_config
from r2d2.keyed import Draw, uniform
from r2d2.model.r2d2 import R2D2
from r2d2.model.side import Side
from r2d2.objectives import losses as losses_module
from r2d2.objectives.losses import Batch, Moment, Objectives

PAD, UNK, CLS, SEP, MASK = range(5)
TERMS = {
    "r2d2": {"tgd", "fgd", "fgr", "mlm"},
    "prd2": {"tgd", "fgd"},
    "wo_et": {"tgd", "fgd", "fgr", "mlm"},
    "wo_twd": {"gcpr", "fgr", "mlm"},
    "wo_tgd": {"gcpr", "fgd", "fgr", "mlm"},
    "wo_fgd": {"tgd", "fgr", "mlm"},
}
TEXTS = [[7, 9, 11, 7], [8, 8], [12, 13, 14, 15, 16, 17, 18], [8, 8], [19], []]  # without ends
KEYS = [[1, 21], [1, 22], [3, 23], [4, 22], [5, 25], [6, 26]]  # one image twice, one text twice
MOMENT = Moment(seed=3, step=5, alpha=0.4, uniform_share=0.3)


def model_config(**changes):
    config = ModelConfig(
        vision=VisionConfig(image_size=8, patch_size=4, width=12, layers=1, heads=2),
        text=TextConfig(vocab_size=24, max_length=16, width=16, layers=2, heads=2),
        cross_layers=2,
        embed_dim=6,
    )
    return dataclasses.replace(config, **changes)


def setup(variant, queue_size=10, **objectives):
    """A model far from its start, teachers that differ from it, and some queued features."""
    config = make_config("tiny", variant)
    model = R2D2(model_config(cross_layers=min(2, config.model.cross_layers))).double()
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    model.temperature.data.fill_(0.2)
    on = dataclasses.replace(config.objectives, queue_size=queue_size, **objectives)
    objectives = Objectives(model, on, MASK, (PAD, UNK, CLS, SEP, MASK)).double()
    if objectives.teacher is not None:
        for p in objectives.teacher.parameters():
            p.data += 0.1 * torch.randn_like(p)
    if objectives.queue is not None and queue_size:
        for keys in ([[1, 99], [98, 97]], [[96, 23]]):  # image 1 and text 23 are in the batch too
            features = F.normalize(torch.randn(2, len(keys), 6).double(), dim=2)
            objectives.queue.push(*features, torch.tensor(keys))
    return model, objectives


def batch_of(texts=TEXTS, keys=KEYS, padding=0):
    longest = max(len(t) for t in texts) + 2 + padding
    ids = torch.tensor([[CLS, *t, SEP] + [PAD] * (longest - len(t) - 2) for t in texts])
    pixels = torch.randn(len(texts), 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    return Batch(pixels, ids, ids != PAD, torch.tensor(keys), torch.arange(len(texts)) + 40)


# --- the whole step in plain loops -----------------------------------------------------------------


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
        x = layer.attend_self(x, None)
        x = layer.attend_context(x, layer.cross_attention.keys_values(context), None)
    return x[0]


def log_softmax(row):
    row = torch.stack(row)
    return row - row.exp().sum().log()


def is_positive(a, b):
    return a[0] == b[0] or a[1] == b[1]


def contrastive(own, other, teacher_own, teacher_other, keys, queued, tau, alpha):
    """One way of TgD; with alpha 0 and nothing queued, of GCPR. `queued`: (feature, key, weight)."""
    loss, all_keys = 0.0, keys + [k for _, k, _ in queued]
    weights = [1.0] * len(keys) + [w for *_, w in queued]
    for i in range(len(own)):
        log_s = log_softmax([own[i] @ c / tau for c in (*other, *(q for q, *_ in queued))])
        same = [is_positive(keys[i], k) for k in all_keys]
        soft = [0.0] * len(all_keys)
        if alpha:
            candidates = (*teacher_other, *(q for q, *_ in queued))
            soft = log_softmax([teacher_own[i] @ c / tau for c in candidates]).exp().detach()
        for j, weight in enumerate(weights):
            target = alpha * soft[j] + (1 - alpha) * same[j] / sum(same)
            loss = loss - weight * target * log_s[j]
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


def naive_step(model, objectives, batch, moment):
    config, towers, tau, n = objectives.config, model.towers, model.temperature, len(batch.ids)
    keys, losses = batch.keys.tolist(), {}
    u = {
        d: uniform(moment.seed, moment.step, d, batch.index, 64).double().tolist()
        for d in (Draw.MASK, Draw.COIN, Draw.NEGATIVE_TEXT, Draw.NEGATIVE_IMAGE)
    }
    u_patches = uniform(moment.seed, moment.step, Draw.PATCHES, batch.index, 4).tolist()
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
        alpha = moment.alpha
        q_images, q_texts, q_keys, q_weights = objectives.queue.filled()
        rest = list(zip(q_keys.tolist(), q_weights.tolist(), strict=True))
        queued_images = [(f, *r) for f, r in zip(q_images, rest, strict=True)]
        queued_texts = [(f, *r) for f, r in zip(q_texts, rest, strict=True)]
    losses["tgd" if config.tgd else "gcpr"] = (
        contrastive(f_images, f_texts, t_images, t_texts, keys, queued_texts, tau, alpha)
        + contrastive(f_texts, f_images, t_texts, t_images, keys, queued_images, tau, alpha)
    ) / 2

    if config.fgd:
        loss = 0.0
        for i in range(n):
            kept = sorted(range(4), key=lambda j: u_patches[i][j])[:2]
            student = image(towers, batch.pixels[i], kept)[1]
            for teacher, student in ((t_images[i], student), (t_texts[i], broken[i][1])):
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
        pairs = [(i, i, 1) for i in range(n)]
        for i in range(n):
            j = draw(s[i], same[i], moment.uniform_share, u[Draw.NEGATIVE_TEXT][i][0])
            pairs += [] if j is None else [(i, j, 0)]
        for j in range(n):
            column = [row[j] for row in s]
            i = draw(column, same[j], moment.uniform_share, u[Draw.NEGATIVE_IMAGE][j][0])
            pairs += [] if i is None else [(i, j, 0)]
        text_loss = image_loss = weights = mlm = tokens = 0.0
        for i, j, label in pairs:
            h_text = cross(model.text_to_image, seen[j], images[i][0])
            projected = model.image_cross_projection(images[i][0])
            h_image = cross(model.image_to_text, projected, seen[j])
            weight = config.positive_weight if label else 1.0
            weights += weight
            logits = model.match_head_text(h_text[0]), model.match_head_image(h_image[0])
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
    return losses


@pytest.mark.parametrize("variant", ["r2d2", "wo_et", "prd2", "wo_twd"])
def test_a_step_equals_the_loops_in_value_and_gradient(variant):
    model, objectives = setup(variant)
    batch = batch_of(padding=3)
    ours, theirs = objectives(model, batch, MOMENT), naive_step(model, objectives, batch, MOMENT)
    assert theirs.keys() == TERMS[variant]
    for name, loss in theirs.items():
        torch.testing.assert_close(ours[name].double(), loss, atol=1e-5, rtol=1e-6, msg=name)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = (
        torch.autograd.grad(total, parameters) for total in (ours["total"], sum(theirs.values()))
    )
    for name, a, b in zip(names, *gradients, strict=True):
        assert b.isfinite().all(), name
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0, msg=name)
        assert b.abs().max() > 1e-3 or "key_value.bias" in name, name  # large enough to be compared


# --- terms, sums, passes ---------------------------------------------------------------------------


@pytest.mark.parametrize("variant", TERMS)
def test_a_variant_has_its_terms_and_their_sum(variant):
    model, objectives = setup(variant)
    losses = objectives(model, batch_of(), MOMENT)
    beside = {"total"} | ({"fgd_entropy"} if "fgd" in TERMS[variant] else set())
    assert losses.keys() == TERMS[variant] | beside
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    total = sum(losses[name].item() for name in TERMS[variant])
    assert losses["total"].item() == pytest.approx(total, abs=1e-5)


def test_weights_scale_the_terms_and_the_sum_follows():
    weights = {"contrastive": 2.0, "fgr": 3.0, "mlm": 0.5, "fgd": 0.0}
    (model, objectives), batch = setup("r2d2"), batch_of()
    plain = objectives(model, batch, MOMENT)
    objectives.config = dataclasses.replace(
        objectives.config, **{f"weight_{name}": value for name, value in weights.items()}
    )
    weighted = objectives(model, batch, MOMENT)
    expected = {
        name: plain[name].item() * weights["contrastive" if name == "tgd" else name]
        for name in TERMS["r2d2"]
    }
    for name, value in expected.items():
        assert weighted[name].item() == pytest.approx(value, abs=1e-5)
    assert weighted["total"].item() == pytest.approx(sum(expected.values()), abs=1e-5)


@pytest.mark.parametrize(("variant", "passes"), [("r2d2", 1), ("wo_et", 2)])
def test_under_et_one_pass_serves_match_and_mlm(variant, passes):
    model, objectives = setup(variant)
    calls = []
    model.text_to_image.register_forward_hook(lambda *_: calls.append(1))
    objectives(model, batch_of(), MOMENT)
    assert len(calls) == passes


def test_no_gradient_reaches_teachers_or_queue():
    model, objectives = setup("r2d2")
    objectives(model, batch_of(), MOMENT)["total"].backward()
    assert all(p.grad is None for p in objectives.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# --- the leak --------------------------------------------------------------------------------------


class Peeker(nn.Module):
    """Sees of a pair's text whether [MASK] stands in it, and nothing else."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.2))
        self.towers = nn.Module()
        self.towers.token_embedding = torch.zeros(24, 1)
        self.seen = {"text": [], "image": []}

    def encode_images(self, pixels, keep=None):
        return Side(torch.zeros(len(pixels), 5, 1), None, F.normalize(pixels.flatten(1)[:, :6]))

    def encode_texts(self, ids, mask):
        has_mask = ((ids == MASK) & mask).any(1).float()
        embedding = F.normalize(torch.sin(ids[:, 1:7].float() * torch.arange(1.0, 7.0)))
        return Side(has_mask[:, None, None].expand(-1, ids.shape[1], 1), mask, embedding)

    def cross_text(self, images, texts, pairs=None, positions=None):
        return texts.states[pairs[1]][:, :1].expand(-1, positions.shape[1], 1)

    def cross_image(self, images, texts, pairs=None):
        return texts.states[pairs[1]][:, 0]

    def match_head_text(self, states):
        self.seen["text"].append(states[:, 0])
        return torch.zeros(len(states), 2)

    def match_head_image(self, states):
        self.seen["image"].append(states[:, 0])
        return torch.zeros(len(states), 2)

    def mlm_head(self, states, token_embedding):
        return torch.zeros(len(states), 24)


def best_by_mask_alone(has_mask, labels, positive_weight=2.0):
    """The lowest weighted cross entropy that a predictor can have which sees `has_mask` only."""
    weight = torch.where(labels == 1, positive_weight, 1.0).double()
    loss = 0.0
    for value in (0.0, 1.0):
        here = has_mask == value
        for label in (0, 1):
            mass = weight[here & (labels == label)].sum()
            if mass:
                loss -= mass * torch.log(mass / weight[here].sum())
    return (loss / weight.sum()).item()


def peek(monkeypatch, share, batches=150, n=16):
    """What the two match heads see and the labels, over many batches of the real step."""
    labels, inner = [], losses_module.fgr

    def listen(text_logits, image_logits, y, positive_weight):
        labels.append(y)
        return inner(text_logits, image_logits, y, positive_weight)

    monkeypatch.setattr(losses_module, "fgr", listen)
    model = Peeker()
    config = ObjectiveConfig(tgd=False, fgd=False, et_masked_share=share)
    objectives = Objectives(model, config, MASK, (PAD, UNK, CLS, SEP, MASK))
    for step in range(batches):
        words = [torch.randint(5, 24, (int(torch.randint(1, 9, ())),)).tolist() for _ in range(n)]
        batch = batch_of(words, [[i, 100 + i] for i in range(n)])
        batch = dataclasses.replace(batch, pixels=torch.randn(n, 3, 8, 8))
        losses = objectives(model, batch, Moment(0, step, 0.4, 0.5))
        assert losses["fgr"].item() == pytest.approx(math.log(2), abs=1e-6)
    return {side: torch.cat(rows) for side, rows in model.seen.items()}, torch.cat(labels)


@pytest.mark.parametrize("share", [0.5, 0.2, 1.0])
def test_whether_a_text_is_masked_does_not_tell_its_label(share, monkeypatch):
    seen, labels = peek(monkeypatch, share)
    assert labels.sum() == len(labels) / 3  # every row had its negatives
    for has_mask in seen.values():
        assert has_mask.mean().item() == pytest.approx(share, abs=0.03)
        assert best_by_mask_alone(has_mask, labels) > math.log(2) - 2e-3


@pytest.mark.parametrize(("share", "won"), [(0.5, 0.15), (1.0, 0.69)])
def test_masked_positives_beside_clean_negatives_would_tell_it(share, won, monkeypatch):
    seen, labels = peek(monkeypatch, share, batches=30)
    for has_mask in seen.values():
        leaking = has_mask * (labels == 1)
        assert best_by_mask_alone(leaking, labels) < math.log(2) - won


def test_a_text_keeps_its_state_in_all_its_roles(monkeypatch):
    model, objectives = setup("r2d2")
    ranked = []
    for name in ("cross_text", "cross_image"):

        def listen(images, texts, pairs, *positions, inner=getattr(model, name)):
            ranked.append((texts, pairs))
            return inner(images, texts, pairs, *positions)

        monkeypatch.setattr(model, name, listen)
    objectives(model, batch_of(), MOMENT)
    (texts, pairs), (other_texts, other_pairs) = ranked
    assert len(texts) == len(TEXTS)  # one state a text, whatever its role
    assert torch.equal(texts.states, other_texts.states)  # and for both encoders the same
    assert all(torch.equal(a, b) for a, b in zip(pairs, other_pairs, strict=True))


@pytest.mark.parametrize("variant", ["r2d2", "wo_et"])
def test_fgr_starts_at_chance(variant):
    config = make_config("tiny", variant)
    shape = dataclasses.replace(
        config.model, text=dataclasses.replace(config.model.text, vocab_size=300)
    )
    for seed in range(3):
        torch.manual_seed(seed)
        model = R2D2(shape)
        objectives = Objectives(model, config.objectives, MASK, (PAD, UNK, CLS, SEP, MASK))
        texts = [torch.randint(5, 300, (6,)).tolist() for _ in range(32)]
        batch = batch_of(texts, [[i, 100 + i] for i in range(32)])
        batch = dataclasses.replace(batch, pixels=torch.randn(32, 3, 72, 72))
        losses = objectives(model, batch, Moment(seed, 0, 0.0, 0.5))
        assert losses["fgr"].item() == pytest.approx(math.log(2), abs=0.05)


# --- batches at the edge ---------------------------------------------------------------------------


def step_is_sound(variant, batch):
    model, objectives = setup(variant, queue_size=4)
    losses = objectives(model, batch, MOMENT)
    assert all(loss.isfinite() for loss in losses.values())
    losses["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    objectives.after_step(model)
    again = objectives(model, batch, dataclasses.replace(MOMENT, step=6))
    assert all(loss.isfinite() for loss in again.values())
    return losses


@pytest.mark.parametrize("variant", TERMS)
def test_a_batch_of_one_pair(variant):
    losses = step_is_sound(variant, batch_of(TEXTS[:1], KEYS[:1]))
    if variant == "wo_twd":
        assert losses["gcpr"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("variant", TERMS)
def test_a_batch_of_equal_texts(variant):
    step_is_sound(variant, batch_of([[7, 8]] * 4, [[i, 9] for i in range(4)]))


@pytest.mark.parametrize("variant", TERMS)
def test_a_batch_with_empty_texts(variant):
    step_is_sound(variant, batch_of([[], [7, 8], []], [[1, 9], [2, 8], [3, 9]]))


@pytest.mark.parametrize("variant", TERMS)
def test_a_batch_of_nothing_but_empty_texts(variant):
    losses = step_is_sound(variant, batch_of([[], [], []], [[1, 9], [2, 9], [3, 9]]))
    if "mlm" in TERMS[variant]:
        assert losses["mlm"].item() == 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_et_with_no_text_masked_and_with_all(share):
    model, objectives = setup("r2d2", et_masked_share=share)
    losses = objectives(model, batch_of(), MOMENT)
    losses["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert (losses["mlm"].item() == 0) == (share == 0)


@pytest.mark.parametrize("variant", ["r2d2", "wo_et", "prd2"])
def test_the_amount_of_padding_changes_nothing(variant):
    model, objectives = setup(variant)
    parameters = list(model.parameters())
    runs = []
    for padding in (0, 1, 5):
        losses = objectives(model, batch_of(padding=padding), MOMENT)
        runs.append((losses, torch.autograd.grad(losses["total"], parameters)))
    for losses, gradients in runs[1:]:
        for name, loss in losses.items():
            torch.testing.assert_close(loss, runs[0][0][name], atol=1e-6, rtol=1e-6, msg=name)
        for a, b in zip(gradients, runs[0][1], strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


# --- draws and state -------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", TERMS)
def test_the_same_step_draws_the_same_and_another_another(variant):
    model, objectives = setup(variant)
    batch = batch_of()
    first, again = (objectives(model, batch, MOMENT) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = TERMS[variant] & {"fgr", "mlm", "fgd"}
    for other in (dataclasses.replace(MOMENT, step=6), dataclasses.replace(MOMENT, seed=4)):
        losses = objectives(model, batch, other)
        for name in drawn:
            assert losses[name].item() != first[name].item(), name
        if "gcpr" in first:
            assert torch.equal(losses["gcpr"], first["gcpr"])


def test_the_draws_follow_the_pairs_place_in_the_global_batch():
    model, objectives = setup("wo_et")
    batch = batch_of()
    moved = dataclasses.replace(batch, index=batch.index + 1)
    assert objectives(model, batch, MOMENT)["mlm"] != objectives(model, moved, MOMENT)["mlm"]


def test_after_a_step_teachers_move_by_the_momentum_and_features_queue():
    model, objectives = setup("r2d2", momentum=0.9)
    batch, queue = batch_of(), objectives.queue
    objectives(model, batch, MOMENT)
    with torch.no_grad():
        images = objectives.teacher.encode_images(batch.pixels).embedding
        texts = objectives.teacher.encode_texts(batch.ids, batch.mask).embedding
    before = [p.clone() for p in objectives.teacher.parameters()]
    weights = queue.filled()[3].clone()
    assert len(weights) == 3  # nothing has entered yet
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    objectives.after_step(model)
    for new, old, p in zip(
        objectives.teacher.parameters(), before, model.towers.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * p.detach(), atol=1e-12, rtol=0)
    queued = [x[3:] for x in queue.filled()]
    for ours, expected in zip(queued, (images, texts, batch.keys), strict=False):
        torch.testing.assert_close(ours, expected)
    assert (queued[3] == 1).all()
    torch.testing.assert_close(queue.filled()[3][:3], weights * 0.99)
    objectives.after_step(model)  # without a forward nothing enters twice
    assert queue.count == 3 + len(TEXTS)


@pytest.mark.parametrize(("value", "kept"), [(5.0, 0.5), (-1.0, 0.001), (0.1, 0.1)])
@pytest.mark.parametrize("variant", ["r2d2", "wo_twd"])
def test_after_a_step_tau_is_in_its_range(variant, value, kept):
    model, objectives = setup(variant)
    model.temperature.data.fill_(value)
    objectives.after_step(model)
    assert model.temperature.item() == pytest.approx(kept)


def test_teachers_drop_nothing_out_whatever_mode_is_set():
    model = R2D2(model_config(dropout=0.5))
    objectives = Objectives(model, make_config("tiny").objectives, MASK, (PAD, UNK, CLS, SEP, MASK))
    objectives.train()
    batch = batch_of()
    first, again = (
        objectives.teacher.encode_texts(batch.ids, batch.mask).embedding for _ in range(2)
    )
    assert torch.equal(first, again)


def test_a_loaded_state_goes_on_with_the_same_losses():
    (model, objectives), batch = setup("r2d2"), batch_of()
    objectives(model, batch, MOMENT)
    objectives.after_step(model)
    other = Objectives(model, objectives.config, MASK, (PAD, UNK, CLS, SEP, MASK)).double()
    other.load_state_dict(objectives.state_dict())
    moment = dataclasses.replace(MOMENT, step=6)
    ours, theirs = objectives(model, batch, moment), other(model, batch, moment)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
