"""What every picture model must satisfy, in one call: `check_model`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, export

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 70.0]


def pictures(batch: int, shape: Sequence[int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, *shape), dtype=torch.uint8, generator=generator)


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters and statistics everywhere, so that nothing is hidden by a zero or a one; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not name.startswith("normalize."):
            drawn = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                drawn = drawn.abs() + 0.5
            elif tensor.ndim > 1:
                drawn = drawn / max(tensor[0].numel(), 1) ** 0.5
            tensor.copy_(drawn)
    return model.eval()


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def check_model(build: Callable[[], nn.Module], shape: Sequence[int], classes: int, varies: bool) -> None:
    """Everything that a model of pictures promises. `varies`: height and width may vary too."""
    torch.manual_seed(0)
    x = pictures(4, shape)

    with torch.device("meta"):
        on_meta = build()(torch.empty(4, *shape))
    assert on_meta["logits"].shape == (4, classes)

    model = build()
    assert {"normalize.mean", "normalize.std"} <= set(model.state_dict())
    model(x)  # lets batch statistics move away from where they start
    model.eval()
    with torch.no_grad():
        out = model(x)
        assert out["logits"].shape == (4, classes)
        assert out["features"].shape == (4, out["features"].shape[1]) == on_meta["features"].shape
        assert out["logits"].dtype == torch.float32
        torch.testing.assert_close(model(x.float()), out, rtol=0, atol=0)  # uint8 and float are the same picture
        torch.testing.assert_close(model(x[1:2])["logits"], out["logits"][1:2], rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(x)["logits"].float()
        scale = out["logits"].std() + 1e-3
        assert ((half - out["logits"]).abs() < 0.2 * scale).all()
        last = build().to(memory_format=torch.channels_last)
        last.load_state_dict(model.state_dict())
        y = last.eval()(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(y["logits"], out["logits"], rtol=1e-4, atol=1e-5)

    check_export(model, x, varies)
    check_gradients(build().train(), x, classes)


def check_export(model: nn.Module, x: Tensor, varies: bool) -> None:
    """One exported program serves other batch sizes and, where they vary, other heights and widths.

    torch.export takes a size of one for a constant, so the range keeps the last map, at 1/32 or more, above one pixel.
    """
    if varies:
        x = pictures(4, (x.shape[1], 48, 40))
    sizes = {0: Dim("B", min=1, max=64)}
    if varies:
        sizes |= {2: Dim("H", min=33, max=64), 3: Dim("W", min=33, max=64)}
    program = export(model, (x,), dynamic_shapes=(sizes,)).module()
    for batch in (1, 7):
        other = pictures(batch, (x.shape[1], *((64, 33) if varies else x.shape[2:])), seed=batch)
        torch.testing.assert_close(program(other)["logits"], model(other)["logits"], rtol=1e-4, atol=1e-5)


def check_gradients(model: nn.Module, x: Tensor, classes: int) -> None:
    """No parameter is dead. The second step counts: what starts at zero holds back what lies behind it in the first."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    label = torch.arange(len(x)) % classes
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x)["logits"], label).backward()
        optimizer.step()
    learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]  # a whitening layer is fixed on purpose
    dead = [name for name, p in learned if p.grad is None or not p.grad.any()]
    assert not dead, dead
