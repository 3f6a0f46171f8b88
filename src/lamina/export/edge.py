"""ExecuTorch: a program for phones and small devices, its operations given to XNNPACK where that has them. An extra.

Memory is planned ahead there, so the batch has a greatest size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.errors import LaminaError
from lamina.export.graph import quiet
from lamina.export.session import one_line, output_of
from lamina.task import Forward, Output

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MOST = 256
"""The greatest batch."""


def require_executorch() -> None:
    """Raises LaminaError, naming what to install, where ExecuTorch is missing."""
    try:
        import executorch.exir  # pyright: ignore[reportMissingImports]
        import executorch.runtime  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise LaminaError(f"--format pte: expected ExecuTorch; {error}: pip install 'lamina[executorch]'") from error


def write_pte(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write `program` for ExecuTorch. Raises LaminaError where it is missing, or lacks an operation."""
    require_executorch()
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # pyright: ignore[reportMissingImports]
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower  # pyright: ignore[reportMissingImports]

    try:
        with quiet():
            made = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    except Exception as error:  # the passes of a compiler fail in any way
        raise LaminaError(f"the model: expected operations that ExecuTorch has; {one_line(error)}") from error
    path.write_bytes(made.buffer)


def pte_forward(path: str | Path, keys: Sequence[str]) -> Forward:
    """The .pte file at `path`, whose outputs are `keys` in order, as a Forward of up to `MOST` examples.

    Raises LaminaError where it is missing or damaged.
    """
    require_executorch()
    from executorch.runtime import Runtime  # pyright: ignore[reportMissingImports]

    if not Path(path).is_file():
        raise LaminaError(f"{path}: expected a program of ExecuTorch; there is no such file")
    try:
        method = Runtime.get().load_program(str(path)).load_method("forward")
    except Exception as error:
        raise LaminaError(f"{path}: expected a program of ExecuTorch; {one_line(error)}") from error

    def forward(*inputs: Tensor) -> Output:
        said = method.execute([x.cpu().contiguous() for x in inputs])
        return output_of({key: value.clone() for key, value in zip(keys, said, strict=True)})  # its memory is used again

    return forward
