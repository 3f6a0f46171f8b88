"""Resumable state on disk: tensors in safetensors, the rest in JSON, never half written and verified before use.

A checkpoint is a folder `step-00001200/` with `tensors.safetensors` and `state.json`, which holds the hash of the
tensors. It is written under a temporary name, synced and renamed, so a killed writer leaves nothing that looks whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lamina.errors import MachineFault
from lamina.files import sync

KEPT = 2
"""Checkpoints kept: should the newest not verify, the one before does."""


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write `state` (nested dicts and lists of tensors and JSON values) as the checkpoint of `step`.

    Raises MachineFault where the disk refuses; earlier checkpoints stay.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".partial-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        tree, tensors = flatten(state)
        save_file(tensors, partial / "tensors.safetensors")
        text = json.dumps({"step": step, "sha256": hash_file(partial / "tensors.safetensors"), "state": tree})
        (partial / "state.json").write_text(text, encoding="utf-8")
        for file in partial.iterdir():
            sync(file)
        sync(partial)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        kept = newest(folder)
        why = getattr(error, "strerror", None) or error
        raise MachineFault(
            f"{folder}: the checkpoint of step {step} could not be written ({why}); "
            f"kept: {kept[0].name if kept else 'no earlier checkpoint'}. Make room, then --resume {folder.parent}"
        ) from error
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    for stale in folder.glob(".partial-*"):
        shutil.rmtree(stale, ignore_errors=True)  # left by a killed writer
    return final


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that verifies, and its state; None where there is none."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        state = load(path)
        if state is not None:
            return path, state
    return None


def load(path: Path) -> dict[str, Any] | None:
    """The state of one checkpoint, or None where it is not whole."""
    try:
        content = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if content["sha256"] != hash_file(path / "tensors.safetensors"):
            return None
        return unflatten(content["state"], load_file(path / "tensors.safetensors"))
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flatten(tree: Any, path: str = "state") -> tuple[Any, dict[str, torch.Tensor]]:
    """A tree of dicts, lists, JSON values and tensors as a JSON tree with references, and the tensors by name.

    Dictionaries with whole-number keys (optimizer states) keep them through a wrapper.
    """
    if isinstance(tree, torch.Tensor):
        return {"__tensor__": path}, {path: tree.detach().cpu().contiguous().clone()}
    tensors: dict[str, torch.Tensor] = {}
    if isinstance(tree, dict):
        branches = {}
        for key, value in tree.items():
            branches[str(key)], found = flatten(value, f"{path}.{key}")
            tensors |= found
        whole = bool(tree) and all(isinstance(key, int) for key in tree)
        return ({"__whole_keys__": branches} if whole else branches), tensors
    if isinstance(tree, (list, tuple)):
        items = []
        for index, value in enumerate(tree):
            item, found = flatten(value, f"{path}.{index}")
            items.append(item)
            tensors |= found
        return items, tensors
    return tree, tensors


def unflatten(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The inverse of `flatten`, but for tuples, which come back as lists."""
    if isinstance(tree, dict):
        if "__tensor__" in tree:
            return tensors[tree["__tensor__"]]
        if "__whole_keys__" in tree:
            return {int(key): unflatten(value, tensors) for key, value in tree["__whole_keys__"].items()}
        return {key: unflatten(value, tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [unflatten(value, tensors) for value in tree]
    return tree
