"""Dropout on a processor: what torch's promises, with cheaper masks."""

import pytest
import torch

from lamina.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.05, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_is_dropped_and_the_mean_stays(p, dtype):
    torch.manual_seed(0)
    y = dropout(torch.ones(1000, 1003, dtype=dtype), p).float()
    share = round(p * 256) / 256
    error = (share * (1 - share) / y.numel()) ** 0.5
    assert abs(float((y == 0).float().mean()) - share) < 5 * error
    assert float(y.max()) == pytest.approx(1 / (1 - share), rel=0.005)
    assert y.unique().numel() == 2


def test_every_number_is_dropped_as_often_and_on_its_own():
    """The eight bytes of a draw are all used, the sign's among them, and say nothing about one another."""
    torch.manual_seed(1)
    kept_ND = torch.stack([dropout(torch.ones(16), 0.25) != 0 for _ in range(20_000)]).float()
    assert (kept_ND.mean(0) - 0.75).abs().max() < 0.016  # five standard errors
    correlations = torch.corrcoef(kept_ND.T) - torch.eye(16)
    assert correlations.abs().max() < 0.036


def test_gradients_flow_where_values_did():
    torch.manual_seed(0)
    x = torch.randn(64, 64, requires_grad=True)
    y = dropout(x, 0.3)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y.detach(), x.detach() * x.grad)


def test_one_seed_gives_one_mask_and_each_call_another():
    x = torch.ones(100)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first) and not torch.equal(first, second)


def test_nothing_is_changed_where_nothing_is_to_be_dropped():
    x = torch.randn(7, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x) and torch.equal(Dropout(0.0)(x), x)
    assert not dropout(x, 1.0).any()
    assert dropout(torch.empty(0, 5), 0.5).shape == (0, 5)
