"""BERT and its MLM head against a slow forward of one text alone; padding."""

import torch
import torch.nn.functional as F
from torch import nn

from r2d2.config import TextConfig
from r2d2.model.bert import Bert, MLMHead

CONFIG = TextConfig(vocab_size=30, max_length=10, width=8, layers=2, heads=2)


def make():
    bert = Bert(CONFIG)
    for p in bert.parameters():
        nn.init.normal_(p, std=0.4)
    return bert.double()


def norm(x, layer):
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + 1e-12).sqrt() * layer.weight + layer.bias


def attend(attention, x):
    q, (k, v) = attention.query(x), attention.key_value(x).chunk(2, dim=-1)
    out = []
    for q_, k_, v_ in zip(*(t.chunk(2, dim=-1) for t in (q, k, v)), strict=True):
        out.append((q_ @ k_.mT / q_.shape[-1] ** 0.5).softmax(-1) @ v_)
    return attention.out(torch.cat(out, dim=-1))


def naive_forward(bert, ids):
    """One text (L,), none of it padding."""
    x = torch.stack([bert.token_embedding.weight[i] for i in ids.tolist()])
    x = x + bert.position_embedding[: len(ids)] + bert.segment_embedding
    x = norm(x, bert.input_norm)
    for layer in bert.layers:
        x = norm(x + attend(layer.attention, x), layer.attention_norm)
        up, _, down = layer.feed_forward
        inner = up(x)
        inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2  # the exact GELU
        x = norm(x + down(inner), layer.feed_forward_norm)
    return x


def batch(lengths, longest=10):
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return torch.randint(1, 30, mask.shape) * mask, mask


def test_each_text_of_a_padded_batch_equals_the_slow_forward_alone():
    bert, lengths = make(), [4, 10, 2, 7]
    ids, mask = batch(lengths)
    states = bert(ids, mask)
    assert states.shape == (4, 10, 8)
    for row, text, n in zip(states, ids, lengths, strict=True):
        torch.testing.assert_close(row[:n], naive_forward(bert, text[:n]), atol=1e-6, rtol=0)


def test_what_stands_in_the_padding_is_not_seen():
    bert = make()
    ids, mask = batch([4, 9, 2])
    states, other = bert(ids, mask), bert(torch.where(mask, ids, 17), mask)
    assert torch.equal(states[mask], other[mask])


def test_the_amount_of_padding_changes_nothing():
    bert, (ids, mask) = make(), batch([4, 6, 2], longest=6)
    wider = bert(F.pad(ids, (0, 4)), F.pad(mask, (0, 4)))[:, :6]
    torch.testing.assert_close(wider[mask], bert(ids, mask)[mask], atol=1e-6, rtol=0)


def test_mlm_head_is_dense_gelu_norm_and_the_token_embedding():
    head, embedding = MLMHead(8, 30), torch.randn(30, 8, dtype=torch.float64)
    for p in head.parameters():
        nn.init.normal_(p, std=0.4)
    head, states = head.double(), torch.randn(5, 8, dtype=torch.float64)
    inner = states @ head.dense.weight.T + head.dense.bias
    inner = norm(inner * (1 + torch.erf(inner / 2**0.5)) / 2, head.norm)
    expected = torch.stack([embedding @ row + head.bias for row in inner])
    torch.testing.assert_close(head(states, embedding), expected, atol=1e-9, rtol=0)
    assert head(states[:0], embedding).shape == (0, 30)
