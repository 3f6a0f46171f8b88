"""What an agent observes, as one array: numbers as they are, one of n as n numbers of which one is 1. Needs only numpy.

The parts of a dictionary or of a tuple stand one after another, in the order of the environment's space. Pictures (uint8) stay
pictures. `data/spaces.py` says this of a gymnasium space once; from then on it is plain fields that a run keeps.

Shapes: N observations, D numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.errors import LaminaError

if TYPE_CHECKING:
    from lamina.task import Arrays, Columns

COLUMN = "observation"
MASK = "action_mask"
"""The column, and the part of an observation, that says which actions are allowed: 1 for those that are."""
STATE = "state"
"""The column of what a policy that remembers has kept; without it, an episode begins."""


@dataclass(frozen=True)
class ObservationReader:
    """Observations -> `observation`, float32 (N, D) or uint8 (N, ...), with `choices`, `action_mask` (N, choices), and with
    `memory`, `state` (N, memory).

    parts: of an observation, each {"path": its keys from the top, "shape": of numbers, or "size" and "start": of one of n}.
    """

    shape: tuple[int, ...]
    parts: tuple[Mapping[str, Any], ...] = ()
    """None: a picture."""
    names: tuple[str, ...] = ()
    """Of the D numbers, for people."""
    choices: int = 0
    """How many actions a mask speaks of; 0: there is none."""
    beside: bool = False
    """The mask is a column of its own, no part of the observation."""
    memory: int = 0
    """How many numbers a policy keeps from one step to the next; 0: it remembers nothing."""

    @property
    def asks(self) -> tuple[str, ...]:
        return (COLUMN, *([MASK] if self.beside else []), *([STATE] if self.memory else []))

    def gather(self, sources: Sequence[Any]) -> Columns:
        return gather_inputs(sources, self.asks)

    def encode(self, columns: Columns) -> Arrays:
        """Raises LaminaError naming the row and what is wrong with it."""
        made = []
        for row, value in enumerate(columns[COLUMN], start=1):
            try:
                made.append(self.array(value))
            except (ValueError, TypeError, OverflowError) as error:
                raise LaminaError(f"row {row}, {COLUMN}: {error}") from error
        dtype = np.float32 if self.parts else np.uint8
        arrays = {COLUMN: np.stack(made) if made else np.empty((0, *self.shape), dtype)}
        if self.choices:
            arrays[MASK] = np.stack([self._mask(columns, row) for row in range(len(made))])
        if self.memory:
            arrays[STATE] = self._states(columns, len(made))
        return arrays

    def _states(self, columns: Columns, count: int) -> np.ndarray:
        """float32 (N, memory): of the rows' own column, as an answer told it; zeros where a row has none."""
        state = np.zeros((count, self.memory), np.float32)
        for row, kept in enumerate(columns.get(STATE, ())):
            if kept is None:
                continue
            numbers = np.asarray(kept)
            if numbers.shape != (self.memory,) or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
                raise LaminaError(f"row {row + 1}, {STATE}: expected {self.memory} finite numbers; got {str(kept)[:80]}")
            state[row] = numbers
        return state

    def _mask(self, columns: Columns, row: int) -> np.ndarray:
        """uint8 (choices,): as the row's own column or observation says; without either, all are allowed."""
        value = columns[COLUMN][row]
        said = columns[MASK][row] if MASK in columns else value.get(MASK) if isinstance(value, Mapping) else None
        mask = np.ones(self.choices, np.uint8) if said is None else np.concatenate([np.ravel(m) for m in nested(said)])
        if mask.shape != (self.choices,) or not np.isin(mask, (0, 1)).all() or not mask.any():
            want = f"{self.choices} of 0 and 1, one of them 1"
            raise LaminaError(f"row {row + 1}, {MASK}: expected {want}; got {str(said)[:80]}")
        return mask.astype(np.uint8)

    def array(self, value: Any) -> np.ndarray:
        """One observation. Raises ValueError in words where it does not fit, or holds what is no number."""
        if not self.parts:
            pixels = np.asarray(value)
            if pixels.shape != self.shape:
                raise ValueError(f"expected a picture of shape {self.shape}; got {pixels.shape}")
            if pixels.dtype != np.uint8 and not ((pixels >= 0) & (pixels <= 255)).all():
                raise ValueError("expected pixels from 0 to 255")
            return pixels.astype(np.uint8)
        known = isinstance(value, np.ndarray) and value.dtype == np.float32 and value.shape == self.shape
        flat = value if known else np.concatenate([flattened(at(value, part["path"]), part) for part in self.parts])
        if not np.isfinite(flat).all():
            where = int(np.flatnonzero(~np.isfinite(flat))[0])
            raise ValueError(f"expected finite numbers; {self.names[where]} is {flat[where]}")
        return flat


def flattened(value: Any, part: Mapping[str, Any]) -> np.ndarray:
    """float32 (size,) of one part. Raises ValueError where the value does not fit."""
    array = np.asarray(value)
    if "shape" in part:
        if array.shape != tuple(part["shape"]):
            raise ValueError(f"expected {tuple(part['shape'])} numbers; got {array.shape}")
        return array.astype(np.float32).reshape(-1)
    size, start = part["size"], part["start"]
    if array.shape != () or array.dtype.kind not in "iub" or not start <= int(array) < start + size:
        raise ValueError(f"expected a whole number from {start} to {start + size - 1}; got {str(value)[:80]}")
    made = np.zeros(size, np.float32)
    made[int(array) - start] = 1
    return made


def at(value: Any, path: Sequence[str | int]) -> Any:
    """The part of a nested value at `path`. Raises ValueError where it has none."""
    for key in path:
        if isinstance(value, Mapping) and key not in value:
            raise ValueError(f"expected the key {key!r}; found {', '.join(map(str, list(value)[:20]))}")
        try:
            value = value[key]
        except (TypeError, IndexError, KeyError) as error:
            raise ValueError(f"expected a value with the part {key!r}; got {type(value).__name__}") from error
    return value


def nested(value: Any) -> Sequence[Any]:
    """A mask for each of several choices, or the one that there is."""
    return value if isinstance(value, tuple) else (value,)


def gather_inputs(sources: Sequence[Any], asks: Sequence[str]) -> Columns:
    """What `lamina predict` points at: `.npy` files with one observation or several, arrays, or whatever rows are read from."""
    from lamina.modalities import rows

    columns: dict[str, list[Any]] = {}
    for source in sources:
        is_file = (isinstance(source, str) and source.endswith(".npy")) or str(getattr(source, "suffix", "")) == ".npy"
        if is_file or isinstance(source, np.ndarray):
            part = {COLUMN: [loaded(source) if is_file else source], "source": [str(source) if is_file else "array"]}
        else:
            part = dict(rows.gather_inputs([source], [a for a in asks if a != STATE], [a for a in asks if a == STATE]))
        for name in {**columns, **part}:
            before = columns.setdefault(name, [None] * len(columns.get("source", ())))
            before.extend(part.get(name, [None] * len(part["source"])))
    return dict(columns)


def loaded(path: Any) -> np.ndarray:
    """An array of a file. Raises LaminaError where it holds none."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LaminaError(f"{path}: expected a file of numpy with one observation; {error}") from error
