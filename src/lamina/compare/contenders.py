"""Which runs are one contender: those of one task, data and settings, that differ in the seed alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamina.errors import LaminaError
from lamina.terminal import jsonable

if TYPE_CHECKING:
    from lamina.run import Run

TOLD = 4
"""Settings that are told of a contender; more are counted."""


@dataclass(frozen=True)
class Group:
    """The runs of a contender, by name, in the order given."""

    name: str
    runs: Mapping[str, Run]
    settings: Mapping[str, Any]
    """Where contenders differ: the settings of this one that others do not share."""

    @property
    def differs(self) -> str:
        """Its `settings` in words; empty where there are none."""
        told = [f"{name} {json.dumps(value)}".replace('"', "").replace(" null", " none") for name, value in self.settings.items()]
        more = [f"and {len(told) - TOLD} more"] if len(told) > TOLD else []
        return ", ".join([*told[:TOLD], *more])


def grouped(runs: Mapping[str, Run]) -> list[Group]:
    """The contenders among `runs`, in the order of their first runs.

    Runs that share a seed too, or tell none, stay alone. Raises LaminaError where some seeds stand once and others twice: what
    was trained twice would count twice. Raises it too for a run that cannot answer, before others have been asked.
    """
    settings = {name: settings_of(run) for name, run in runs.items()}
    together: dict[str, list[str]] = {}
    for name, run in runs.items():
        answers = run.served or (run.folder / "model.safetensors").is_file()
        if run.info.get("status", "finished") != "finished" and not answers:
            run.model()  # says why there is none
        known = run.info.get("seed") is not None
        together.setdefault(json.dumps(settings[name], sort_keys=True) if known else f"alone: {name}", []).append(name)
    alike: list[list[str]] = []
    for members in together.values():
        seeds = [runs[name].info.get("seed") for name in members]
        if len(members) > 1 and len(set(seeds)) == 1:
            alike += [[name] for name in members]
        elif len(set(seeds)) < len(seeds):
            one, other = next((a, b) for i, a in enumerate(members) for b in members[:i] if seeds[i] == runs[b].info["seed"])
            raise LaminaError(
                f"compare: expected runs of the same settings to differ in their seeds; {other} and {one} share seed "
                f"{runs[one].info['seed']}: leave one out"
            )
        else:
            alike.append(members)
    own = differing([settings[members[0]] for members in alike])
    named = zip(names_for(alike), alike, own, strict=True)
    return [Group(name, {member: runs[member] for member in members}, mine) for name, members, mine in named]


def settings_of(run: Run) -> dict[str, Any]:
    """Whatever made a run, but the seed, as flat JSON. What was asked as `auto` is that, whatever it found for each seed.

    A device, threads and how often is logged change no more than rounding does. Where a run was made of another, that is a
    setting: children of different parents are never taken together. Names that hold a space cannot be those of a hyperparameter.
    """
    info = run.info
    asked = info.get("arguments", {}).get("recipe", {})
    recipe = {name: "auto" if asked.get(name) == "auto" else value for name, value in info.get("recipe", {}).items()}
    if asked.get("minutes") is not None:
        recipe.pop("evaluations", None)  # as many as the time allowed
    data = info.get("data", {})
    found = {
        "task name": info.get("task"),
        "task file": info.get("task_file"),
        **info.get("hyperparameters", {}),
        **recipe,
        **{name: value for name, value in info.get("source", {}).items() if name != "data"},  # a folder may have moved
        "data fingerprint": data.get("fingerprint"),
        "data counts": data.get("counts"),
        "precision": info.get("precision"),
        "init": info.get("arguments", {}).get("options", {}).get("init"),
        "surgeries made": info.get("surgeries"),
        "parent run": info.get("parent", {}).get("run"),
        "Lamina version": info.get("versions", {}).get("lamina"),
        **{f"shrink {name}": value for name, value in info.get("shrink", {}).items() if name != "seed"},
    }
    return jsonable(found)


def differing(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each, the entries that not all share; None for one that it does not have."""
    names = dict.fromkeys(name for one in settings for name in one)
    apart = [name for name in names if any(one.get(name) != settings[0].get(name) for one in settings)]
    return [{name: one.get(name) for name in apart if name in one} for one in settings]


def names_for(groups: Sequence[Sequence[str]]) -> list[str]:
    """The name of a run that is alone; of several, what their names begin with, or the first name and how many more there are."""
    short = [members[0] if len(members) == 1 else common(members) for members in groups]
    return [
        name if len(members) == 1 or (name and short.count(name) == 1) else f"{members[0]} and {len(members) - 1} more"
        for name, members in zip(short, groups, strict=True)
    ]


def common(names: Sequence[str]) -> str:
    """What `names` begin with, without what leads to a number: `pong` of pong-seed0 and pong-seed1."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    shared = "".join(letters[0] for letters in alike)
    if any(not name[len(shared) :][:1].strip("0123456789") for name in names):  # the number itself begins alike: x1 and x10
        shared = shared.rstrip("0123456789")
    shared = shared.rstrip("-_. /")
    for word in ("-seed", "_seed", ".seed", "-s", "_s", ".s"):
        shared = shared.removesuffix(word)
    return shared
