"""Worlds in processes of their own, for environments that are slow: what they show is what `OneByOne` shows, bit for bit.

Each process steps some of the worlds one after another. Arrays pass through memory that all of them see, a file of no name;
commands and answers are lines of JSON. A process is a new interpreter, never a copy of this one: locks and threads of torch
would come along. It ends when its standard input does, however this process may have ended.

Shapes: N worlds, W processes.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from lamina.data.world import NAMED, World, spec_of
from lamina.data.worlds import OneByOne, Seen, episode_seed
from lamina.errors import LaminaError

BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from lamina.data.workers import serve; serve()"
PATIENCE = 3.0
"""Seconds that a process has to end by itself."""
MEMORY = "/dev/shm"
"""Where files are memory; elsewhere they stand among the temporary ones, and in memory as long as they are used."""


class Workers:
    """Worlds, shared out to processes. A fault in one is told as `OneByOne` tells it; so is a process that dies."""

    def __init__(self, world: World, count: int, workers: int) -> None:
        spec_of(world.environment)  # whether its code may run is known here alone
        self.world, self.count = world, count
        shares = [part.tolist() for part in np.array_split(np.arange(count), min(workers, count))]
        size = sum(array.nbytes for array in views(None, world, count, len(shares)).values())
        with tempfile.NamedTemporaryFile(dir=MEMORY if Path(MEMORY).is_dir() else None, delete=False) as file:
            file.truncate(size)
        self.arrays = views(file.name, world, count, len(shares))
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", BEGIN, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for this process, which ends those
                text=True,
                env={"OMP_NUM_THREADS": "1", **os.environ},
            )
            for _ in shares
        ]
        self.close = weakref.finalize(self, ended, self.processes)
        told = {"world": world.state(), "count": count, "workers": len(shares), "file": file.name}
        try:
            self._ask("begin", [{**told, "worker": w, "rows": rows} for w, rows in enumerate(shares)])
        except BaseException:
            self.close()
            raise
        finally:
            with contextlib.suppress(OSError):  # Windows keeps what is in use
                Path(file.name).unlink()
        self.shares = shares

    def reset(self, seeds: Sequence[int]) -> Seen:
        self._ask("reset", [[int(seeds[i]) for i in rows] for rows in self.shares])
        return self._seen()

    def step(self, action: np.ndarray) -> Seen:
        self.arrays["action"][:] = action
        self._ask("step")
        return self._seen()

    def _seen(self) -> Seen:
        """Copies: the next step writes over what is shared."""
        one = {name: self.arrays[name].copy() for name in ("observation", "reward_N", "terminated_N", "truncated_N", "fresh_N")}
        return Seen(**one, mask_NK=self.arrays["mask_NK"].copy() if self.world.reader.choices else None)

    def state_dict(self) -> dict[str, Any]:
        """As that of `OneByOne`: either goes on from the other's."""
        parts = self._ask("state_dict")
        return {name: [value for part in parts for value in part[name]] for name in parts[0]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._ask(
            "load_state_dict", [{name: [values[i] for i in rows] for name, values in state.items()} for rows in self.shares]
        )

    def _ask(self, what: str, given: Sequence[Any] | None = None) -> list[Any]:
        """What each process answers. Raises LaminaError with the first fault, after all have answered; then all are ended."""
        if not self.close.alive:
            raise LaminaError("workers: closed, after a fault or by whoever had them")
        for w, process in enumerate(self.processes):
            with contextlib.suppress(BrokenPipeError):  # it has died: the answer, which does not come, says so
                pipe(process.stdin).write(json.dumps([what, given[w] if given else None]) + "\n")
                pipe(process.stdin).flush()
        answers = [pipe(process.stdout).readline() for process in self.processes]
        try:
            for w, answer in enumerate(answers):
                if not answer:
                    raise LaminaError(self._death(w))
                if fault := json.loads(answer)[0]:
                    raise LaminaError(fault)
        except LaminaError:
            self.close()
            raise
        return [json.loads(answer)[1] for answer in answers]

    def _death(self, w: int) -> str:
        try:
            code = self.processes[w].wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = 0
        by = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        seed, step = self.arrays["at"][w].tolist()
        return f"{self.world.environment}: step {step} of an episode with seed {seed}: its worker process ended {by}"


def pipe(found: IO[str] | None) -> IO[str]:
    assert found is not None
    return found


def ended(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Ends processes: they are told by the end of their input, and after a while made to."""
    for process in processes:
        with contextlib.suppress(OSError):
            pipe(process.stdin).close()
    for process in processes:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        pipe(process.stdout).close()


def views(file: str | None, world: World, count: int, workers: int) -> dict[str, np.ndarray]:
    """The arrays in a file that all processes see; without one, such arrays."""
    actions = world.actions
    wide = () if actions.kind == "discrete" else (actions.width,)
    kinds: list[tuple[str, tuple[int, ...], Any]] = [
        ("at", (workers, 2), np.int64),  # the seed and the step of the episode that a process is at
        ("reward_N", (count,), np.float64),
        ("action", (count, *wide), np.float32 if actions.kind == "continuous" else np.int64),
        ("observation", (count, *world.reader.shape), np.uint8 if world.pictures else np.float32),
        ("terminated_N", (count,), np.bool_),
        ("truncated_N", (count,), np.bool_),
        ("fresh_N", (count,), np.bool_),
        ("mask_NK", (count, world.reader.choices), np.uint8),
    ]
    if file is None:
        return {name: np.empty(shape, dtype) for name, shape, dtype in kinds}
    with Path(file).open("r+b") as opened:
        memory = mmap.mmap(opened.fileno(), 0)
    made, start = {}, 0
    for name, shape, dtype in kinds:  # numbers of many bytes first: each begins where it may
        size = int(np.prod(shape))
        made[name] = np.frombuffer(memory, dtype, size, start).reshape(shape)
        start += made[name].nbytes
    return made


class Told(OneByOne):
    """Worlds that write down where they are before they go on, for whoever has to say where they died."""

    at: np.ndarray

    def _begin(self, i: int) -> Any:
        self.at[:] = episode_seed(self.seeds[i], self.episode[i]), 0
        return super()._begin(i)

    def _act(self, i: int, action: Any) -> tuple[Any, float, bool, bool]:
        self.at[:] = episode_seed(self.seeds[i], self.episode[i]), len(self.taken[i]) + 1
        return super()._act(i, action)


class Share:
    """The worlds of one process, and where they stand among all."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        world = World.from_state(told["world"])
        NAMED.add(world.environment)  # whoever began this process has asked whether it may
        self.arrays = views(told["file"], world, told["count"], told["workers"])
        self.rows = slice(told["rows"][0], told["rows"][-1] + 1)
        self.worlds = Told(world, len(told["rows"]))
        self.worlds.at = self.arrays["at"][told["worker"]]

    def answer(self, what: str, given: Any) -> Any:
        if what == "reset":
            return self._show(self.worlds.reset(given))
        if what == "step":
            return self._show(self.worlds.step(self.arrays["action"][self.rows].copy()))
        if what == "state_dict":
            return self.worlds.state_dict()
        return self.worlds.load_state_dict(given)

    def _show(self, seen: Seen) -> None:
        for name, value in vars(seen).items():
            if value is not None:
                self.arrays[name][self.rows] = value


def serve() -> None:
    """What a process does: a line in, [what, given], a line out, [fault, answer], to the end of its input."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what environments print is no answer
        share: Any = None
        for line in sys.stdin:
            what, given = json.loads(line)
            fault, answer = "", None
            try:
                if what == "begin":
                    share = Share(given)
                else:
                    answer = share.answer(what, given)
            except LaminaError as error:
                fault = str(error)
            except Exception as error:
                fault = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            answers.write(json.dumps([fault, answer]) + "\n")
            answers.flush()
