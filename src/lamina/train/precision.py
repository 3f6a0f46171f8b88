"""Device, precision, memory layout and allocator: chosen for the machine, and said in words."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lamina.errors import LaminaError


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one. Raises LaminaError where the device is unknown or absent."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise LaminaError(
            f"--device: expected auto or a device of this machine ({', '.join(devices())}); got {name!r}"
        ) from error
    return device


def devices() -> list[str]:
    """The devices of this machine by torch's names."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


@lru_cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets of the processor, as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), []))


def pick_precision(name: str, device: torch.device) -> tuple[str, str]:
    """The precision to compute in, and why. Weights, their sums and the loss are float32 either way."""
    if name != "auto":
        return name, "as asked"
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
        return ("bfloat16", "tensor cores") if fast else ("float32", "this GPU computes bfloat16 slowly")
    if device.type == "cpu":
        for flag, word in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16")):
            if flag in cpu_flags():
                return "bfloat16", f"the processor has {word}"
    return "float32", "no fast bfloat16 here"


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context that the forward pass runs in."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def for_steps(model: nn.Module, precision: str, device: torch.device) -> nn.Module:
    """A copy of `model` for many small calls under `autocast(precision)`, whose linear layers are prepared once.

    In bfloat16 their weights are cast: autocast casts them anew in every call, which takes longer than one token's arithmetic. In
    float32 on a processor they are laid out column by column, so that the product with one row reads them faster.
    All other weights are the model's own. Elsewhere it is the model itself.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if precision == "bfloat16":
        weights = {id(m.weight): m.weight.detach().bfloat16() for m in layers}
    elif device.type == "cpu" and precision == "float32":
        weights = {id(m.weight): m.weight.detach().t().contiguous().t() for m in layers}
    else:
        return model
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    memo |= {key: nn.Parameter(weight, requires_grad=False) for key, weight in weights.items()}
    return copy.deepcopy(model, memo)


def has_convolutions(model: nn.Module) -> bool:
    return any(isinstance(m, nn.Conv2d) for m in model.modules())


def float32(output: Any) -> Any:
    """An Output in float32, as loss, score and predict expect it."""
    if isinstance(output, dict):
        return {name: float32(value) for name, value in output.items()}
    return output.float() if output.is_floating_point() else output


def tune_allocator() -> None:
    """Keep freed memory, in huge pages: a training step frees and asks for the same large blocks again, and page faults
    cost 5 to 10%.

    glibc's mallopt: M_MMAP_THRESHOLD (-3) and M_TRIM_THRESHOLD (-1) at their largest. PyTorch reads THP_MEM_ALLOC_ENABLE at
    its first allocation, so the huge pages come only where nothing was computed before. Elsewhere nothing is done.
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 2**30)
        libc.mallopt(-1, 2**31 - 1)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Afterwards the caller's threads and random numbers go on as if nothing had happened.

    Within, numbers too small for float32's full precision are zero: the moments of a weight that no longer learns fade through
    them, and a processor computes with them tens of times slower.
    """
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    flushed = not bool(torch.tensor([1e-40]).mul(1.0).any())
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)
        torch.set_rng_state(state)


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores that this process may run on (hardware threads of one count once)."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    allowed = os.sched_getaffinity(0) if sys.platform == "linux" else set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))
