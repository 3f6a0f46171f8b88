"""What every model of token sequences must satisfy: padding changes nothing, cached equals uncached, states can be reordered.

Shapes: B rows, T tokens, V tokens known.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.export.writing import Begin, Step
from lamina.nn.lexical import Dictionary


def tokens(rows: int, length: int, vocabulary: int, seed: int = 0) -> Tensor:
    """Random rows that begin with <bos> (2) and hold neither padding nor another one."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(4, vocabulary, (rows, length), generator=generator)
    drawn[:, 0] = 2
    return drawn


def padded(rows: Sequence[Tensor], left: bool, more: int = 0) -> Tensor:
    """Rows of different lengths as one batch, padded with 0; `more` columns of padding beyond what is needed."""
    length = max(len(row) for row in rows) + more
    return torch.stack([nn.functional.pad(row, (length - len(row), 0) if left else (0, length - len(row))) for row in rows])


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters everywhere, so that nothing is hidden by a zero or a one; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else drawn * 0.3)
    for module in model.modules():
        if isinstance(module, Dictionary):
            word = torch.randint(module.vocabulary, module.word.shape, generator=generator)
            module.start(word, torch.rand(module.share.shape, generator=generator))
    return model.eval()


def close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def check_classifier(model: nn.Module, vocabulary: int, classes: int) -> None:
    """A row alone and in a batch padded left or right agree; an empty row has an answer; `embed` runs once."""
    rows = [tokens(1, n, vocabulary, n)[0] for n in (7, 3, 1, 5)]
    alone = [model(row[None]) for row in rows]
    for left in (False, True):
        out = model(padded(rows, left, more=2))
        assert out["logits"].shape == (4, classes) and out["logits"].dtype == torch.float32
        for i, one in enumerate(alone):
            close(out["logits"][i : i + 1], one["logits"])
            close(out["features"][i : i + 1], one["features"])
    assert torch.isfinite(model(torch.zeros(2, 3, dtype=torch.int64))["logits"]).all()
    with torch.autocast("cpu", torch.bfloat16):
        half = model(padded(rows, True))["logits"]
    assert half.dtype == torch.float32
    assert (half - torch.cat([one["logits"] for one in alone])).abs().max() < 0.2


@torch.no_grad()
def check_generator(model: Any, sources: Sequence[Tensor] | None, vocabulary: int) -> None:
    """Rows of different lengths, alone and together, padded either way, whole and step by step: the same logits.

    sources: what a translator reads, one for each of the three rows; None for a language model.
    """
    rows = [tokens(1, n, vocabulary, n)[0] for n in (5, 2, 9)]
    future = tokens(3, 80, vocabulary, 99)[:, 1:]  # past the least capacity of a cache

    def whole(i: int, row: Tensor) -> Tensor:
        before = [] if sources is None else [sources[i][None]]
        return model(*before, row[None])["token_logits"][0]

    expected = [whole(i, torch.cat([row, future[i]])) for i, row in enumerate(rows)]
    for left in (True, False):
        before = [] if sources is None else [padded(sources, left, 1)]
        batch = padded(rows, left, 2)
        said = model(*before, batch)["token_logits"]
        assert said.dtype == torch.float32
        for i, row in enumerate(rows):
            close(said[i][batch[i] != 0], expected[i][: len(row)])
        logits, state = model.begin(*before, batch)
        order = torch.tensor([2, 0, 1])
        for t in range(future.shape[1] + 1):
            close(logits, torch.stack([expected[i][len(row) + t - 1] for i, row in enumerate(rows)]))
            if t == 4 and left:  # as a beam search does: rows change places, then come back
                moved = {name: value.index_select(0, order) for name, value in state.items()}
                logits, moved = model.step(future[order, t], moved)
                state = {name: value.index_select(0, order.argsort()) for name, value in moved.items()}
                logits = logits[order.argsort()]
            elif t < future.shape[1]:
                logits, state = model.step(future[:, t], state)
            assert all(len(value) == 3 for value in state.values())
        if not left:
            break


@torch.no_grad()
def check_documents(model: Any, vocabulary: int) -> None:
    """Documents packed into one row are answered as if each stood alone, whole and step by step."""
    documents = [tokens(1, n, vocabulary, n)[0] for n in (4, 1, 6)]
    expected = torch.cat([model(d[None])["token_logits"][0] for d in documents])
    packed = torch.cat(documents)
    batch = padded([packed, documents[2]], left=True)
    close(model(batch)["token_logits"][0], expected)
    close(model(padded([packed, documents[2]], False, 3))["token_logits"][0, : len(packed)], expected)
    close(model.begin(batch)[0][0], expected[-1])
    logits, state = model.begin(packed[None, :2])
    for t in range(2, len(packed)):
        logits, state = model.step(packed[t : t + 1], state)
        close(logits[0], expected[t])


def learns(model: nn.Module, loss: Callable[[nn.Module], Tensor], steps: int, lr: float = 3e-3) -> float:
    """The loss after so many steps of Adam."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    value = torch.zeros(())
    for _ in range(steps):
        value = loss(model)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    model.eval()
    return float(value.detach())


def onnx_of(module: nn.Module, arguments: Any, shapes: Any, names: Sequence[str], path: Any) -> Callable[..., list[Any]]:
    """The module as an ONNX file, and the function that runs it: tensors in, arrays out."""
    import onnxruntime

    from lamina.export.graph import recurrences_kept

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        with recurrences_kept():
            program = torch.export.export(module.eval(), arguments, dynamic_shapes=shapes)
            made = torch.onnx.export(program, input_names=list(names), verbose=False)
    assert made is not None
    made.save(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = [node.name for node in session.get_inputs()]

    def run(*given: Tensor) -> list[Any]:
        feed = {name: value.contiguous().numpy() for name, value in zip(names, given, strict=True) if name in wanted}
        return session.run(None, feed)

    return run


@torch.no_grad()
def check_graphs(model: Any, inputs: Sequence[Tensor], shapes: Any, names: Sequence[str], folder: Any) -> None:
    """`begin` and `step` as ONNX graphs generate what the model does, at other batch sizes and lengths than those traced."""
    run_begin = onnx_of(Begin(model).eval(), tuple(inputs), (shapes,), names, folder / "begin.onnx")
    _, state = model.begin_graph(*inputs)
    sizes = {size for dims in model.state_dims.values() for size in dims if isinstance(size, str)} | {"B"}
    vary = {size: torch.export.Dim(size, min=1, max=40 if size in "ST" else None) for size in sorted(sizes)}
    moving = tuple({i: vary[size] for i, size in enumerate(model.state_dims[name]) if isinstance(size, str)} for name in state)
    arguments = (inputs[0][:, -1].clone(), *state.values())
    run_step = onnx_of(
        Step(model, list(state)).eval(), arguments, ({0: vary["B"]}, moving), ["token", *state], folder / "step.onnx"
    )
    for rows, length in ((1, 1), (2, 5), (3, 8)):
        given = [padded([tokens(1, max(length - i, 1), 12, i + length)[0] for i in range(rows)], True) for _ in inputs]
        logits, expected = model.begin(*copy.deepcopy(given))
        said, *state = map(torch.from_numpy, run_begin(*given))
        close(said, logits, 1e-4)
        for t in range(4):
            token = torch.arange(rows) + t + 4
            logits, expected = model.step(token, expected)
            said, *state = map(torch.from_numpy, run_step(token, *state))
            close(said, logits, 1e-4)
    assert np.isfinite(said.numpy()).all()
