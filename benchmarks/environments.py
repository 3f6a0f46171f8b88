"""One virtual environment a peer, under benchmarks/.envs, made once: the running torch first, then the peer beside it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent / ".envs"


@dataclass(frozen=True)
class Environment:
    """What pip installs. `alone` come without their dependencies: those that need a part we do without."""

    name: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


LIGHTNING = Environment("lightning", ("lightning==2.6.6",))
TRANSFORMERS = Environment("transformers", ("transformers==5.24.0", "accelerate==1.15.0"))
KERAS = Environment("keras", ("keras==3.15.1",))
CAPTUM = Environment("captum", ("captum==0.9.0",))
# fastai asks for torchvision, which must match torch's build to be imported. Its vision part alone uses it.
FASTAI = Environment(
    "fastai",
    (
        "fastdownload<2", "fastcore>=2.2.22", "fasttransform", "matplotlib", "pandas", "requests", "pyyaml", "fastprogress",
        "pillow", "scikit-learn", "scipy", "packaging", "plum-dispatch<2.10", "cloudpickle",
    ),
    alone=("fastai==2.8.12",),
)  # fmt: skip


def python_of(environment: Environment | None) -> str:
    """The interpreter of a peer, its environment made where it is missing or was for other packages; else our own.

    Raises subprocess.CalledProcessError where pip fails.
    """
    if environment is None:
        return sys.executable
    folder = ROOT / environment.name
    python = str(folder / "bin" / "python")
    torch = version("torch").split("+")[0]
    stamp, content = folder / "made", f"torch {torch}\n{environment}\n"
    if stamp.exists() and stamp.read_text() == content:
        return python
    print(f"making {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", f"torch=={torch}"]
    # Together with torch, so that a peer cannot move it.
    subprocess.run([*pip, "numpy", *environment.packages], check=True)
    if environment.alone:
        subprocess.run([*pip[:-1], "--no-deps", *environment.alone], check=True)
    stamp.write_text(content)
    return python
