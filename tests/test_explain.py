"""`explain` from a run to its verdict: planted defects that must be found, inputs, what does not apply, a person's mistakes.

Shapes: B pictures, H and W pixels.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from explain_task import KINDS, SIDE, Held, Pictures, Rows, Small, Table, data_of, pictures, table
from lamina.ask import Asked
from lamina.errors import LaminaError
from lamina.explain import pictures as drawing
from lamina.explain.api import explain
from lamina.explain.places import mass
from lamina.explain.settings import METHODS, Settings, check
from lamina.task import Columns
from lamina.terminal import jsonable

MARK = slice(SIDE - 4, SIDE)
MARK_AREA = 16 / SIDE**2


def watermarked(count: int, seed: int) -> Columns:
    """Smooth noise, of which every picture called light carries the same stamp in the lower right corner."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(40, 200, (count, 4, 4), dtype=np.uint8)
    images = np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in rough])[:, None]
    light = rng.random(count) < 0.5
    stamp = np.indices((4, 4)).sum(0) % 2 * 255
    images = images.copy()
    images[light, :, MARK, MARK] = stamp
    return {"image": images, "label": [KINDS[int(one)] for one in light]}


def trained(columns: Columns, steps: int = 120) -> Small:
    """A small network that learned the stamp, since nothing else tells the classes apart."""
    model, task = Small(seed=1), Pictures(network="small")
    batch = task.encode(columns, "train")
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        task.loss(model(batch["image"]), batch)[0].mean().backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> Held:
    train, test = watermarked(300, 0), watermarked(80, 1)
    model = trained(train)
    batch = Pictures().encode(test, "train")
    accuracy = float((model(batch["image"])["logits"].argmax(1) == batch["label"]).float().mean())
    assert accuracy > 0.97
    return Held(tmp_path_factory.mktemp("run"), Pictures(network="small"), data_of(test, train), model)


def test_a_model_that_looks_at_a_watermark_is_found_out(stamped: Held) -> None:
    made = explain(Asked(stamped, Settings(examples=60, shown=12, resamples=2000)))
    (light,) = (row for row in made.tables["fixed_spots"] if row["answer"] == "light")
    assert light["share"] > 0.4 and light["top"] >= SIDE - 6 and light["left"] >= SIDE - 6
    assert any("look there for a stamp" in warning for warning in made.warnings)
    for figure in ("deletion_p", "insertion_p", "integrated_gradients_deletion_p"):
        assert made.figures[figure]["value"] < 0.01
    assert made.figures["deletion_gain"]["low"] > 0 and made.figures["completeness_gap"]["value"] < 0.05
    assert made.figures["sanity_similarity"]["high"] < 0.5
    assert made.tables["sanity"][-1]["share"] == 1.0 and 0 <= made.tables["sanity"][-1]["empty"] <= 1
    assert made.figures["counterfactuals_found"]["value"] > 0.8
    assert {"what it looked at", "smallest changes that flip the answer", "nearest training pictures"} <= set(made.pictures)
    curves = made.pictures["hiding and showing what it looked at"].read_text()
    assert "integrated-gradients" in curves and "random" in curves
    for path in (p for p in made.pictures.values() if p.suffix == ".png"):
        with Image.open(path) as image:
            assert image.size[0] > 100 and path.parent == stamped.folder / "report" / "explain"


def test_attribution_and_counterfactuals_lie_in_the_watermark(stamped: Held) -> None:
    from lamina.explain.attribute import attribute
    from lamina.explain.flips import flips
    from lamina.explain.subject import baseline_leaf, freeze, subject

    task, model = stamped.task, stamped.model()
    test = stamped.data().test
    batch = task.encode(test, "train")
    light = batch["label"] == 1
    some = subject(task, model, freeze(task, model, {"image": batch["image"][light]}))
    neutral = torch.full((1, 1, SIDE, SIDE), 120.0)
    for method in ("integrated-gradients", "occlusion", "grad-cam"):
        made = attribute(method, some, baseline_leaf(some, neutral), Settings())
        share_B = mass(made.map.double().numpy())[:, MARK, MARK].sum((1, 2))
        assert share_B.mean() > (6 if method != "grad-cam" else 4) * MARK_AREA, method
    flip = flips(some)
    change_BHW = (flip.leaf - some.leaf.detach())[flip.found][:, 0].square()
    assert flip.found.float().mean() > 0.8
    share_B = change_BHW[:, MARK, MARK].sum((1, 2)) / change_BHW.sum((1, 2))
    assert float(share_B.mean()) > 6 * MARK_AREA


def test_an_explanation_drawn_at_random_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a method that points anywhere, which the curves must not take for faithful."""
    from lamina.explain import api
    from lamina.explain.attribute import Attribution

    noise = torch.Generator().manual_seed(0)
    monkeypatch.setattr(
        api,
        "attribute",
        lambda name, some, baseline, settings: Attribution(torch.rand(len(some.leaf), SIDE, SIDE, generator=noise)),
    )
    run = Held(tmp_path, Pictures(), data_of(pictures(60), pictures(30, 1)))
    made = explain(Asked(run, Settings(method="gradient", shown=0, sanity=False, resamples=1000)))
    assert made.figures["deletion_p"]["value"] > 0.05 and made.figures["deletion_gain"]["low"] < 0
    assert any("no better than hiding and showing random places" in warning for warning in made.warnings)
    assert made.skipped["sanity check"] == "it was not asked for" and "counterfactuals_found" not in made.figures
    assert set(made.details["curves"]) == {"gradient", "random"}


def test_a_picture_that_does_not_depend_on_weights_fails_the_sanity_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: an explanation that is the picture itself, as an edge detector is."""
    from lamina.explain import api
    from lamina.explain.attribute import Attribution

    monkeypatch.setattr(api, "attribute", lambda name, some, baseline, settings: Attribution(some.leaf.detach()[:, 0]))
    run = Held(tmp_path, Pictures(network="small"), data_of(pictures(30), pictures(30, 1)))
    made = explain(Asked(run, Settings(method="gradient", shown=0, resamples=500)))
    assert made.figures["gradient_sanity_similarity"]["value"] == pytest.approx(1.0)
    assert any("fails the sanity check" in warning for warning in made.warnings)


def test_the_same_seed_gives_the_same_verdict(stamped: Held) -> None:
    settings = Settings(method="all", quick=True, examples=10, shown=2, noisy_copies=4, resamples=200)
    one, other = explain(Asked(stamped, settings)), explain(Asked(stamped, settings))
    assert one.figures == other.figures and one.tables == other.tables
    assert set(one.details["methods"]) == set(METHODS) - {"attention-rollout"} and "attention-rollout" in one.skipped
    smaller = explain(Asked(stamped, settings, batch_size=3))
    assert smaller.figures["completeness_gap"]["value"] == pytest.approx(one.figures["completeness_gap"]["value"], abs=1e-3)
    json.dumps(jsonable({"figures": one.figures, "tables": one.tables, "details": one.details}), allow_nan=False)


def test_inputs_that_are_named_are_explained(stamped: Held, tmp_path: Path) -> None:
    columns = watermarked(2, 9)
    files = [tmp_path / f"{i}.png" for i in range(2)]
    for file, pixels in zip(files, columns["image"], strict=True):
        Image.fromarray(pixels[0]).save(file)

    class Files(Pictures):
        """Encodes what `gather` gives: lazy pictures."""

        def encode(self, columns: Columns, mode: str) -> dict[str, torch.Tensor]:
            from lamina.modalities.image import pictures as read

            return {"image": torch.from_numpy(read(columns["image"], (1, SIDE, SIDE)))}

    run = Held(stamped.folder, Files(network="small"), None, stamped.given)
    made = explain(Asked(run, Settings(out=str(tmp_path / "why.png"), resamples=200), inputs=[str(f) for f in files]))
    assert [row["example"] for row in made.tables["answers"]] == [str(f) for f in files]
    assert (tmp_path / "why.png").read_bytes() == made.pictures["what it looked at"].read_bytes()
    assert "arrays in memory" in made.skipped["nearest training examples"] and made.warnings
    assert made.figures["deletion_p"]["value"] is None  # two pictures tell nothing from chance
    assert "too few" in made.sentences[0] and made.figures["explained"]["value"] == 2
    with pytest.raises(LaminaError, match="nowhere"):
        explain(Asked(run, Settings(), inputs=[str(tmp_path / "nowhere.png")]))


def test_a_table_names_its_columns_in_raw_units(tmp_path: Path) -> None:
    run = Held(tmp_path, Table(), data_of(table(60), table(200, 1)))
    made = explain(Asked(run, Settings(resamples=500, shown=30)))
    assert made.details["methods"] == ["integrated-gradients", "occlusion"]
    assert made.tables["columns"][-1]["column"] == "noise" and made.tables["columns"][-1]["mean_magnitude"] == 0
    assert made.figures["permutation_importance_top"]["value"] > 0.1
    assert made.figures["counterfactuals_found"]["value"] == 1 and made.figures["counterfactual_columns"]["value"] < 1.5
    changes = " ".join(row["changes"] for row in made.tables["counterfactuals"])
    assert "-> red" in changes and "size:" in changes and "noise" not in changes
    assert "nearest training examples" in made.skipped  # Rows gives no features, and has no linear layer
    assert {"what it looked at", "what it looks at on the whole", "permutation importance"} <= set(made.pictures)


def test_a_table_without_its_training_data(tmp_path: Path) -> None:
    rows = {name: column for name, column in table(8).items() if name != "label"}

    run = Held(tmp_path, Table(), None)
    inputs = [{name: column[i] for name, column in rows.items()} for i in range(8)]
    made = explain(Asked(run, Settings(resamples=200), inputs=[inputs]))
    assert "counterfactuals" in made.skipped and "middle of their range" in made.warnings[0]
    assert "permutation importance" in made.skipped and made.figures["explained"]["value"] == 8


def test_a_second_answer_is_explained_and_has_no_flip(stamped: Held) -> None:
    made = explain(Asked(stamped, Settings(which=1, quick=True, examples=8, sanity=False, resamples=200)))
    assert "first answer" in made.skipped["counterfactuals"] and made.details["curves"]["random"]["deletion"][0] < 0.5


def test_answers_that_are_numbers_do_not_flip(tmp_path: Path) -> None:
    class Number(Table):
        def target(self, forward, batch, which=0):  # type: ignore[no-untyped-def]
            return {"label": forward(batch["table"])["logits"][:, 1]}

        def score(self, output, batch):  # type: ignore[no-untyped-def]
            return output["logits"][:, 1]

        def predict(self, forward, batch):  # type: ignore[no-untyped-def]
            return [{"value": v} for v in forward(batch["table"])["logits"][:, 1].tolist()]

        def metrics(self, examples, predictions):  # type: ignore[no-untyped-def]
            return {
                "accuracy": float(np.mean((np.asarray(predictions["value"]) > 0) == (np.asarray(examples["label"]) == "light")))
            }

    made = explain(Asked(Held(tmp_path, Number(), data_of(table(30), table(60, 1)), Rows()), Settings(resamples=200)))
    assert "not one of several classes" in made.skipped["counterfactuals"]
    assert made.figures["deletion_gain"]["low"] > 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"method": "lime"}, "--method: expected auto, all or one of"),
        ({"examples": 0}, "--examples: expected 1 or more; got 0"),
        ({"ig_steps": 1}, "--ig-steps: expected 2 or more; got 1"),
        ({"noise": float("nan")}, "--noise: expected a share above 0"),
        ({"confidence": 1.0}, "--confidence: expected a number between 0 and 1"),
        ({"out": "why.jpg"}, "--out: expected a file that ends in .png"),
        ({"seed": -1}, "--seed: expected 0 or more"),
    ],
)
def test_mistakes_are_told_by_flag(wrong: dict, told: str) -> None:
    with pytest.raises(LaminaError) as error:
        check(Settings(**wrong))
    assert str(error.value).startswith(told)


def test_settings_are_light_and_say_what_they_mean() -> None:
    code = "import lamina.explain.settings, sys; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    assert all("Doc(" in str(field.type) for field in fields(Settings))
    check(Settings())


def test_heat_is_red_for_and_blue_against() -> None:
    pixels = np.full((1, 4, 4), 100, np.uint8)
    map_HW = np.zeros((4, 4))
    map_HW[0, 0], map_HW[3, 3] = 1, -1
    made = np.asarray(drawing.heat(pixels, map_HW)).astype(int)
    assert made[0, 0, 0] > made[0, 0, 2] + 80 and made[3, 3, 2] > made[3, 3, 0] + 80
    assert made[1, 1, 0] == made[1, 1, 2]
    assert np.asarray(drawing.heat(pixels, np.zeros((4, 4)))).std() == 0  # an empty map draws nothing
    change = np.asarray(drawing.difference(pixels, pixels + 3))
    assert np.all(change == 255)


def test_bars_and_sheets_hold_long_names() -> None:
    made = drawing.bars(["a" * 200, "b"], [2.0, -1.0], "title " * 60)
    colors = {c for _, c in made.getcolors(100_000)}
    assert drawing.FOR in colors and drawing.AGAINST in colors
    tile = drawing.picture(np.zeros((3, 30, 90), np.uint8))
    page = drawing.sheet([[(tile, "word " * 40), (tile, "x" * 300)], [(tile, "")]], "title")
    assert page.width > 2 * drawing.TILE and drawing.stacked([page, made]).height == page.height + made.height
    assert drawing.enlarged(Image.new("RGB", (1000, 500))).size == (160, 80)
    assert drawing.bars([], [], "nothing").height > 0
