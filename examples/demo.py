"""From data to a model that has answered for itself: what `make demo` runs.

Trains an image classifier on the digits that come with scikit-learn, evaluates it on digits it has not seen, asks it
about some of them, draws what it said, and writes the report: what it looks at, whether it holds up, what it costs.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

import lamina
from lamina.data.columns import take
from lamina.evaluate import print_evaluation

TILE, TEXT, COLUMNS = 72, 18, 10
RIGHT, WRONG = (20, 120, 60), (200, 30, 30)


def main() -> None:
    run = lamina.train("image-classification", epochs=12)
    evaluation = run.evaluate()
    print_evaluation(evaluation, str(run.folder))

    # Ask about the test digits it got wrong, and about others beside them.
    data = run.data()
    answers = evaluation.predictions
    right = np.asarray(answers["label"]) == np.asarray(data.test["label"])
    shown = np.concatenate([np.flatnonzero(~right), np.flatnonzero(right)])[:30]
    picture = run.folder / "digits.png"
    sheet(take(data.test, shown), [answers["label"][i] for i in shown], [answers["probability"][i] for i in shown]).save(picture)
    example = run.folder / "digit.png"
    Image.fromarray(data.test["image"][int(shown[-1])][0]).save(example)

    print(f"\nWhat it said, its mistakes first: {picture}")
    print("Now it answers for itself (lamina report --quick, about a minute) ...")
    report = lamina.report(run, quick=True, require=("accuracy>=0.9", "ece<=0.05"))
    print("\n".join([*report.sentences, *report.failed]))
    print("\nTry next:")
    for command, what in (
        (f"lamina predict {run.folder} {example}", "ask it about a picture"),
        (f"lamina evaluate {run.folder}", "its figures again, with every class"),
        (f"lamina stress {run.folder}", "does it hold up, in full"),
        (f"lamina export {run.folder}", "a folder that answers without torch"),
        ("lamina train tabular", "the same for a table"),
        ("lamina train image-classification --help", "every setting"),
        ("lamina train image-classification --data FOLDER", "your own pictures, a folder per class"),
    ):
        print(f"  .venv/bin/{command:<70}  {what}")


def sheet(examples: dict, labels: list[str], probabilities: list[float]) -> Image.Image:
    """The pictures in rows of ten, each with what the model said of it; mistakes in red, with the truth."""
    rows = -(-len(labels) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + TEXT)), "white")
    draw = ImageDraw.Draw(page)
    for index, (label, probability, truth) in enumerate(zip(labels, probabilities, examples["label"], strict=True)):
        x, y = index % COLUMNS * TILE, index // COLUMNS * (TILE + TEXT)
        tile = Image.fromarray(examples["image"][index][0]).resize((TILE - 4, TILE - 4), Image.Resampling.NEAREST)
        page.paste(tile, (x + 2, y + 2))
        said = f"{label}  {probability:.0%}" if label == truth else f"{label}, not {truth}"
        draw.text((x + 4, y + TILE - 1), said, fill=RIGHT if label == truth else WRONG)
    return page


if __name__ == "__main__":
    main()
