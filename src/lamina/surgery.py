"""Changes to a network after its task has built it, such as channels left out or weights of fewer bits.

A run lists them in run.json as JSON, `{"surgery": NAME, **arguments}`, and they are replayed on `task.model()` before its
weights load. Each is a function in `shrink/` of a module and plain values; none knows what the network is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lamina.errors import LaminaError

if TYPE_CHECKING:
    from torch import Tensor, nn


def surgeons() -> dict[str, Callable[..., None]]:
    """The surgeries by name: each changes `model` in place."""
    from lamina.shrink.few_bits import int4_weights, int8_weights
    from lamina.shrink.low_rank import low_rank
    from lamina.shrink.merged import merge
    from lamina.shrink.narrow import narrow
    from lamina.shrink.sparse import sparse
    from lamina.train.teacher import projector

    return {
        "narrow": narrow,
        "low-rank": low_rank,
        "int8-weights": int8_weights,
        "int4-weights": int4_weights,
        "sparse": sparse,
        "projector": projector,
        "merge": merge,
    }


def baked(tensors: Mapping[str, Tensor], without: str) -> dict[str, Tensor]:
    """`tensors` with what was held at zero (`sparse`) as zeros, and without those that have `without` in their name."""
    held = {name: name.removesuffix("held") + "weight" for name in tensors if name.endswith(".held")}
    made = {**tensors, **{weight: tensors[weight] * tensors[name] for name, weight in held.items()}}
    return {name: tensor for name, tensor in made.items() if without not in name.split(".")}


def apply(model: nn.Module, surgeries: Sequence[Mapping[str, Any]]) -> nn.Module:
    """`model` with all `surgeries`, in order; it may be on `meta`. The shapes are final, the weights are yet to load.

    Raises LaminaError where an entry is not one that Lamina writes, or does not fit the model.
    """
    if isinstance(surgeries, (str, Mapping)) or not isinstance(surgeries, Sequence):
        raise LaminaError(f"run.json: expected surgeries to be a list; got {type(surgeries).__name__}")
    known = surgeons() if surgeries else {}
    for place, entry in enumerate(surgeries):
        name = entry.get("surgery") if isinstance(entry, Mapping) else None
        where = f"run.json: surgery {place + 1} of {len(surgeries)}"
        if name not in known:
            raise LaminaError(f"{where}: expected one of {', '.join(known)}; got {name!r}")
        arguments = {key: value for key, value in entry.items() if key != "surgery"}
        try:
            known[name](model, **arguments)
        except LaminaError as error:
            raise LaminaError(f"{where} ({name}): {error}") from error
        except (TypeError, ValueError, AttributeError, IndexError, KeyError, RuntimeError) as error:
            told = str(error).splitlines()[0]
            raise LaminaError(f"{where} ({name}): expected arguments that fit the network; {told}") from error
    return model
