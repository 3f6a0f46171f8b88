"""Cold start and peak memory: a fresh process imports, opens the model, gives one answer, and ends.

Run as `python -m lamina.bench.fresh KIND FILE INPUTS.npz [TASK_FILE]`; it prints its peak memory in bytes after the answer.
An exported graph is opened with what its folder needs, numpy and onnxruntime, and no torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from lamina.errors import LaminaError

LONGEST = 300.0
"""Seconds after which a process counts as hanging."""


def started(kind: str, path: Path, inputs: Path, task_file: str | None, threads: int | None) -> tuple[float, float]:
    """(seconds until the first answer, peak bytes) of one fresh process. Raises LaminaError where it fails."""
    environment = dict(os.environ) | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    environment["PYTHONPATH"] = os.pathsep.join([p for p in sys.path if p])  # what this process imports, it may too
    command = [sys.executable, "-m", "lamina.bench.fresh", kind, str(path), str(inputs), *([task_file] if task_file else [])]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        out, error = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired as late:
        process.kill()
        process.communicate()
        raise LaminaError(f"{path}: a fresh process gave no answer within {LONGEST:.0f} seconds") from late
    if process.returncode:
        told = error.strip().splitlines() or [f"exit status {process.returncode}"]
        raise LaminaError(f"{path}: a fresh process failed: {told[-1]}")
    return time.perf_counter() - began, float(out.split()[-1])


def peak_bytes() -> float:
    """The most memory that this process ever held."""
    try:
        # not getrusage: its maximum survives exec, and would be that of the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(held if sys.platform == "darwin" else held * 1024)


def main(kind: str, path: str, inputs: str, task_file: str | None = None) -> None:
    """One answer, as whoever serves the model would get it."""
    import numpy as np

    with np.load(inputs) as held:
        arrays = [held[name] for name in held.files]
    if kind == "onnx":
        from lamina.export.session import onnx_session

        session = onnx_session(path)
        session.run(None, dict(zip([node.name for node in session.get_inputs()], arrays, strict=True)))
    else:
        import torch

        from lamina.bench.variants import program
        from lamina.run import Run

        forward = program(path) if kind == "program" else Run.load(path, task_file).forward("cpu")
        forward(*map(torch.from_numpy, arrays))
    print(peak_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
