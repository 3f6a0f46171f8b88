"""Kills trainings at random moments, resumes them, and compares what they learn: `python -m benchmarks.kill_and_resume`.

Each trial starts `lamina train image-classification` on the bundled digits, kills it (SIGKILL: no handler runs) one to
three times, going on with `lamina train --resume RUN` after each, and compares the tensors of model.safetensors, bit by
bit, with those of a run that nobody disturbed. Half of the kills wait for a checkpoint that is being written, the
others for a random step. Exit status 1 unless every trial ends identical.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, write

LAMINA = (sys.executable, "-c", "import sys; from lamina.cli import main; sys.exit(main())")
PATIENCE = 600.0
"""Seconds after which a training that shows no progress counts as stuck."""


def train_flags(folder: Path, steps: int, checkpoint_steps: int, threads: int) -> list[str]:
    return [
        "train", "image-classification", "--out", str(folder), "--steps", str(steps), "--checkpoint-steps", str(checkpoint_steps),
        "--log-steps", "1", "--evaluations", "3", "--seed", "0", "--threads", str(threads), "--no-tensorboard", "--quiet",
    ]  # fmt: skip


def step_of(folder: Path) -> int:
    """The last step whose row is written whole; 0 before the first."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def partial(folder: Path) -> set[Path]:
    """The temporary folders of checkpoints that are being written, or whose writer was killed."""
    return set((folder / "checkpoints").glob(".partial-*"))


def kill_when(process: subprocess.Popen[bytes], moment: Callable[[], bool]) -> bool:
    """SIGKILL the process as soon as `moment` comes. False where it ended by itself before; TimeoutError where neither comes."""
    limit = time.monotonic() + PATIENCE
    while process.poll() is None:
        if moment():
            process.kill()
            process.wait()
            return True
        if time.monotonic() > limit:
            process.kill()
            raise TimeoutError(f"neither an end nor the moment to kill came in {PATIENCE:.0f} s")
        time.sleep(0.0005)
    return False


def same(one: Path, other: Path) -> list[str]:
    """Names of the tensors of two safetensors files that differ in name, type, shape or any bit."""
    from safetensors.numpy import load_file

    a, b = load_file(one), load_file(other)
    shared = a.keys() & b.keys()
    changed = [n for n in shared if a[n].dtype != b[n].dtype or a[n].shape != b[n].shape or a[n].tobytes() != b[n].tobytes()]
    return sorted([*(a.keys() ^ b.keys()), *changed])


def finish(arguments: Sequence[str]) -> None:
    """Run to the end. Raises RuntimeError with the last line of what it said."""
    done = subprocess.run([*LAMINA, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit status {done.returncode}: {done.stderr.strip()[-300:]}")


def trial(folder: Path, flags: list[str], steps: int, checkpoint_steps: int, seed: int) -> dict[str, Any]:
    """Train with one to three kills. Says after which step each came, and whether a checkpoint was being written."""
    choose = random.Random(seed)
    kills: list[dict[str, Any]] = []
    arguments = flags
    last = steps - 2 * checkpoint_steps  # after it, a checkpoint is still to come in which to be killed
    for _ in range(choose.randint(1, 3)):
        in_writing = choose.random() < 0.5
        # Only from here on, so that kills after a resume do not all fall at its start.
        at = choose.randint(min(step_of(folder) + 1, last), last)
        delay = choose.uniform(0, 0.03)  # a step is a few milliseconds: anywhere inside it
        stale = partial(folder)  # of earlier kills
        process = subprocess.Popen([*LAMINA, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def moment(at: int = at, in_writing: bool = in_writing, delay: float = delay, stale: set[Path] = stale) -> bool:
            if step_of(folder) < at or (in_writing and partial(folder) <= stale):
                return False
            time.sleep(0 if in_writing else delay)
            return True

        if not kill_when(process, moment):
            raise RuntimeError(f"it ended by itself, with exit status {process.returncode}, before the kill at step {at}")
        kills.append({"step": step_of(folder), "writing": not partial(folder) <= stale})
        arguments = ["train", "--resume", str(folder)]
    finish(arguments)
    return {"seed": seed, "kills": kills}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--checkpoint-steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--name", default="kill_and_resume", help="of the file in benchmarks/results")
    options = parser.parse_args(arguments)
    at, trials = machine(), []
    with tempfile.TemporaryDirectory() as parent:
        reference = Path(parent) / "undisturbed"
        sizes = options.steps, options.checkpoint_steps, options.threads
        finish(train_flags(reference, *sizes))
        for number in range(options.trials):
            folder = Path(parent) / f"trial-{number}"
            try:
                result = trial(folder, train_flags(folder, *sizes), *sizes[:2], options.seed + number)
                differing = same(reference / "model.safetensors", folder / "model.safetensors")
                result |= {"identical": not differing, "differing": differing}
            except (RuntimeError, TimeoutError) as error:
                result = {"seed": options.seed + number, "kills": [], "identical": False, "error": str(error)}
            trials.append(result)
            print(f"trial {number + 1}: {json.dumps(result)}", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
    kills = [kill for one in trials for kill in one["kills"]]
    found = {
        "trials": len(trials),
        "identical": sum(t["identical"] for t in trials),
        "kills": len(kills),
        "kills_while_writing_a_checkpoint": sum(kill["writing"] for kill in kills),
    }
    write(options.name, machine=at, settings=vars(options), **found, each=trials)
    print(json.dumps(found))
    return 0 if found["identical"] == found["trials"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
