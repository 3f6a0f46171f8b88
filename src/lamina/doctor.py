"""What this machine offers: processors, memory, precisions, versions, extras, folders; and what is missing, with its cure."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

CPU_FEATURES = {
    "amx_bf16": "AMX",
    "amx_tile": "AMX tiles",
    "avx512_bf16": "AVX512-BF16",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512-VNNI",
    "avx2": "AVX2",
    "fma": "FMA",
    "bf16": "ARM BF16",
    "sve": "ARM SVE",
    "asimd": "ARM NEON",
}
"""Linux's names of the instruction sets that matter to deep learning, and the names people know."""


@dataclass(frozen=True)
class Device:
    """Something that trains. `memory` is in bytes; `precisions` are those it computes fast."""

    name: str
    what: str
    memory: int | None
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class Extra:
    """An optional group of packages. `missing` is empty where it is installed."""

    name: str
    missing: tuple[str, ...]
    cure: str | None


@dataclass(frozen=True)
class Folder:
    """A folder that Lamina writes to. `size` is in bytes."""

    what: str
    path: str
    size: int
    free: int | None
    writable: bool


@dataclass(frozen=True)
class Diagnosis:
    """What `lamina doctor` found. `problems` are what stands in the way of training, each with its cure."""

    lamina: str
    python: str
    system: str
    torch: str
    torch_build: str
    processor: str
    cores: int
    physical_cores: int
    memory: int | None
    memory_free: int | None
    features: tuple[str, ...]
    devices: tuple[Device, ...]
    precision: str
    packages: dict[str, str | None]
    extras: tuple[Extra, ...]
    folders: tuple[Folder, ...]
    problems: tuple[str, ...]


def doctor() -> Diagnosis:
    """Look at the machine. Reads, and writes nothing but a probe that it removes."""
    cpu = cpu_info()
    features = features_of(cpu.get("flags", cpu.get("Features", "")))
    total, free = memory()
    packages = required()
    problems = [f"{name} is missing: pip install {name}" for name, version in packages.items() if version is None]
    torch_version, build, devices, precision = devices_of(cpu, total, features)
    if torch_version == "missing":
        build = "pip install torch"
    folders = (folder("cache", cache_folder()), folder("runs", Path("runs").absolute()))
    problems += [f"{f.path} cannot be written: choose another folder" for f in folders if not f.writable]
    return Diagnosis(
        lamina=version_of("lamina") or "not installed",
        python=platform.python_version(),
        system=platform.platform(),
        torch=torch_version,
        torch_build=build,
        processor=cpu.get("model name") or platform.processor() or platform.machine(),
        cores=allowed_cores(),
        physical_cores=physical(),
        memory=total,
        memory_free=free,
        features=features,
        devices=devices,
        precision=precision,
        packages=packages,
        extras=extras(),
        folders=folders,
        problems=tuple(problems),
    )


def cpu_info(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = path.read_text(errors="replace").strip().split("\n\n")[0]
    except OSError:
        return {}
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in first.splitlines())}


def features_of(flags: str) -> tuple[str, ...]:
    """The instruction sets worth naming among the flags of /proc/cpuinfo."""
    there = set(flags.split())
    return tuple(name for flag, name in CPU_FEATURES.items() if flag in there)


def memory() -> tuple[int | None, int | None]:
    """Bytes of memory in all and available; a container's limit counts where it is lower."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None, None
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if rest}
    total, free = kib["MemTotal"] * 1024, kib.get("MemAvailable", kib["MemFree"]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return total, free
    return (min(total, int(limit)), min(free, int(limit) - used)) if limit.isdigit() else (total, free)


def allowed_cores() -> int:
    """Hardware threads that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def physical() -> int:
    """Cores without their second hardware threads."""
    from lamina.train.precision import default_threads

    return default_threads()


def devices_of(cpu: Mapping[str, str], total: int | None, features: tuple[str, ...]) -> tuple[str, str, tuple[Device, ...], str]:
    """torch's version, how it was built, the devices it sees, and what precision `auto` picks on the first."""
    try:
        import torch
    except ImportError:
        return "missing", "", (), "none"
    from lamina.train.precision import pick_device, pick_precision

    fast = ("float32", "bfloat16") if {"AMX", "AVX512-BF16", "ARM BF16"} & set(features) else ("float32",)
    found = [Device("cpu", cpu.get("model name", platform.machine()), total, fast)]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        capable = (facts.major, facts.minor) >= (8, 0)
        precisions = ("float32", "tf32", "bfloat16", "float16") if capable else ("float32", "float16")
        found.append(Device(f"cuda:{index}", facts.name, facts.total_memory, precisions))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU", None, ("float32", "float16")))
    cuda = torch.version.cuda
    hip = torch.version.hip
    build = f"CUDA {cuda}" if cuda else f"ROCm {hip}" if hip else "CPU only" if sys.platform != "darwin" else "Apple"
    device = pick_device("auto")
    precision, why = pick_precision("auto", device)
    return torch.__version__, build, tuple(found), f"{precision} on {device}: {why}"


def version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def required() -> dict[str, str | None]:
    """The packages that Lamina needs, with their versions; None where missing."""
    return {name: version_of(name) for name, extra in requirements() if extra is None}


def extras() -> tuple[Extra, ...]:
    """The optional groups of packages that Lamina's own metadata declares."""
    groups: dict[str, list[str]] = {}
    for name, extra in requirements():
        if extra is not None:
            groups.setdefault(extra, []).append(name)
    made = []
    for extra, names in groups.items():
        missing = tuple(name for name in names if version_of(name) is None)
        made.append(Extra(extra, missing, f"pip install 'lamina[{extra}]'" if missing else None))
    return tuple(made)


def requirements() -> list[tuple[str, str | None]]:
    """(package, extra it belongs to or None), as Lamina's metadata declares."""
    try:
        written = metadata.requires("lamina") or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in written:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", line)
        if name:
            found.append((name.group(), extra.group(1) if extra else None))
    return found


def cache_folder() -> Path:
    """Where packed data is kept: $LAMINA_CACHE, or ~/.cache/lamina."""
    return Path(os.environ.get("LAMINA_CACHE") or Path.home() / ".cache" / "lamina")


def folder(what: str, path: Path) -> Folder:
    """Facts about a folder that need not exist yet: then its nearest ancestor must be writable."""
    import shutil

    size = 0
    for file in path.rglob("*") if path.is_dir() else ():
        try:
            size += file.lstat().st_size
        except OSError:
            continue  # removed meanwhile
    ancestor = path
    while not ancestor.exists() and ancestor != ancestor.parent:
        ancestor = ancestor.parent
    try:
        free = shutil.disk_usage(ancestor).free
    except OSError:
        free = None
    return Folder(what, str(path), size, free, writable(ancestor))


def writable(path: Path) -> bool:
    """Can a file be made here? Asked by making one: permissions do not tell of read-only mounts and full disks."""
    import tempfile

    if not path.is_dir():
        return False
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".lamina-probe-"):
            return True
    except OSError:
        return False


def print_diagnosis(found: Diagnosis) -> None:
    """Tables for people."""
    from lamina.terminal import print_table, size_text

    def size(count: int | None) -> str:
        return "-" if count is None else size_text(count)

    print_table(
        ["", "this machine"],
        [
            ["lamina", f"{found.lamina}, Python {found.python}, {found.system}"],
            ["torch", f"{found.torch} ({found.torch_build})"],
            ["processor", f"{found.processor}: {found.physical_cores} cores, {found.cores} threads"],
            ["instructions", ", ".join(found.features) or "none that matter are known"],
            ["memory", f"{size(found.memory)}, {size(found.memory_free)} available"],
            ["precision auto", found.precision],
        ],
    )
    print_table(
        ["device", "what", "memory", "fast precisions"],
        [[d.name, d.what, size(d.memory), ", ".join(d.precisions)] for d in found.devices],
    )
    print_table(
        ["extra", "state", "to get it"],
        [[e.name, "missing " + ", ".join(e.missing) if e.missing else "installed", e.cure or ""] for e in found.extras],
    )
    print_table(
        ["folder", "path", "size", "free", "writable"],
        [[f.what, f.path, size(f.size), size(f.free), "yes" if f.writable else "NO"] for f in found.folders],
    )
    for problem in found.problems:
        print(f"problem: {problem}")
