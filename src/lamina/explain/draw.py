"""The pictures of one explanation: what was found, laid out.

Shapes: H and W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.explain.alignments import drawn
from lamina.explain.examples import in_words, kind_of
from lamina.explain.pictures import Tile, bars, difference, heat, picture, save, sheet, stacked
from lamina.explain.places import mass
from lamina.explain.settings import Settings
from lamina.explain.text_pictures import shaded_page
from lamina.explain.texts import of_words, shaded, shaded_tokens

if TYPE_CHECKING:
    from lamina.explain.found import Found
    from lamina.run import Run


LOOKED_AT = "what it looked at"


def pictures(found: Found, run: Run, settings: Settings) -> dict[str, Path]:
    """Write every picture that applies under the run's report, and the first also where `out` says: {title: path}."""
    modality = run.task.inputs[0].modality
    folder = run.pictures("explain")
    made: dict[str, Any] = {}
    shown = min(settings.shown, len(found.names))
    if modality == "image" and shown:
        made |= _of_images(found, run.task.inputs[0].name, shown)
    elif shown and found.maps and modality == "text":
        made[LOOKED_AT] = shaded_page(
            shaded_rows(found, shown), "orange, underlined: speaks for the answer; blue, dotted: against it"
        )
    elif shown and found.maps:
        made |= _of_rows(found, run, shown)
    if any(one.words and one.read for one in found.alignments):
        made["alignment"] = drawn(found.alignments)
    if found.importance:
        title = f"permutation importance: by how much {run.task.headline[0]} gets worse without the column"
        made["permutation importance"] = bars(
            [one["column"] for one in found.importance], [one["importance"] for one in found.importance], title
        )
    paths = {title: save(image, folder / f"{title.replace(' ', '-')}.png") for title, image in made.items()}
    if found.curves:
        paths["hiding and showing what it looked at"] = _curves(found, folder / "curves.svg")
    if settings.out and made:
        save(next(iter(made.values())), Path(settings.out))
    return paths


def shaded_rows(found: Found, shown: int) -> list[dict[str, Any]]:
    """The texts shown, their words shaded by the leading method."""
    if found.cell_BT is None or not found.methods:
        return []
    method = found.methods[0]
    values = of_words(found.maps[method][:shown], found.cell_BT[:shown].cpu())
    rows = []
    for row in range(shown):
        about = f"{_short(found.names[row])}: {in_words(found.answers[row])}  ({method.replace('-', ' ')})"
        if found.spans is None:
            rows.append(shaded_tokens(found.words[row], values[row], about))
        else:
            rows.append(shaded(str(found.columns[found.column][row]), found.spans[row], values[row], about))
    return rows


def _curves(found: Found, path: Path) -> Path:
    """The mean strength of what was said along deletion and insertion, a line a method, and chance in gray."""
    from lamina import drawing

    figure, axes = drawing.new_figure(8.0, 3.4, columns=2)
    for axis, kind, what in zip(axes, ("deletion", "insertion"), ("hidden", "shown"), strict=True):
        for number, (name, along) in enumerate(found.curves.items()):
            mean = getattr(along, kind).mean(0)
            chance = name == "random"
            color = drawing.QUIET if chance else drawing.COLORS[number % len(drawing.COLORS)]
            axis.plot(np.linspace(0, 1, len(mean)), mean, color=color, linestyle="--" if chance else "-", label=name)
        axis.set_xlabel(f"share {what}, what counts most first")
    axes[0].set_ylabel("strength of the answer")
    axes[1].legend(frameon=False, fontsize=8)
    return drawing.save(figure, path)


def _of_images(found: Found, name: str, shown: int) -> dict[str, Any]:
    pixels = found.said[name][:shown].float().cpu().numpy()
    made = {}
    rows: list[list[Tile]] = []
    for row in range(shown):
        tiles: list[Tile] = [(picture(pixels[row]), f"{_short(found.names[row])}: {in_words(found.answers[row])}")]
        tiles += [(heat(pixels[row], map_B[row].numpy()), method) for method, map_B in found.maps.items()]
        rows.append(tiles)
    if found.maps:
        made["what it looked at"] = sheet(rows, "red: speaks for the answer; blue: against it")
    flipped = [one for one in found.flips if one["found"]]
    if flipped:
        made["smallest changes that flip the answer"] = sheet([
            [
                (picture(pixels[one["row"]]), in_words(found.answers[one["row"]])),
                (picture(one["_after"]), f"changed: {one['becomes']}"),
                (difference(pixels[one["row"]], one["_after"]), f"the change: {100 * one['rms_share']:.1f}% of the range"),
            ]
            for one in flipped
        ])  # fmt: skip
    if found.neighbours and found.reference:
        theirs = found.reference.batch[name]
        rows = []
        for row in range(shown):
            near = [one for one in found.neighbours if one["_row"] == row]
            tiles = [(picture(pixels[row]), in_words(found.answers[row]))]
            for one in near:
                label = "" if one["label"] is None else one["label"]
                tiles.append((picture(theirs[one["_place"]].float().cpu().numpy()), f"{label} ({one['cosine']:.2f})"))
            rows.append(tiles)
        made["nearest training pictures"] = sheet(rows, "left: explained; right: what the model sees as most alike")
    if found.spots:
        maps = found.maps[found.methods[0]].double().numpy()
        kinds = np.array([kind_of(answer) for answer in found.answers])
        tiles = []
        for one in found.spots[:12]:
            chosen = kinds == one["answer"]
            mean = found.said[name][: len(kinds)].float().cpu().numpy()[chosen].mean(0)
            tiles.append(
                (heat(mean, mass(maps[chosen]).mean(0)), f"{one['answer']}: {100 * one['share']:.0f}% in 5% of the area")
            )
        made["where it looks on the whole"] = sheet(
            [tiles[i : i + 4] for i in range(0, len(tiles), 4)], "mean over pictures, by answer"
        )
    return made


def _of_rows(found: Found, run: Run, shown: int) -> dict[str, Any]:
    method = found.methods[0]
    maps = found.maps[method].numpy()
    places = maps.shape[1]
    asks = run.task.asks
    known = len(asks) == places
    named = run.task.inputs[0].names
    names = list(asks) if known else list(named) if len(named) == places else [f"place {i + 1}" for i in range(places)]
    pages = []
    for row in range(shown):
        values = [found.columns[name][row] for name in asks] if known else np.asarray(found.columns[asks[0]][row], object).ravel()
        told = len(values) == places and all(np.ndim(value) == 0 for value in values)
        cells = [f"{name} = {_cell(value)}" for name, value in zip(names, values, strict=True)] if told else names
        title = f"{_short(found.names[row])}: {in_words(found.answers[row])}  ({method})"
        pages.append(bars(cells, maps[row].tolist(), title, most=10))
    made = {"what it looked at": stacked(pages)}
    title = f"on the whole: mean magnitude over {len(maps)} rows ({method})"
    made["what it looks at on the whole"] = bars(names, np.abs(maps).mean(0).tolist(), title)
    return made


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def _short(name: str) -> str:
    return Path(name).name
