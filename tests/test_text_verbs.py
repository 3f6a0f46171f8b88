"""Every question to a run over texts of varying length: planted copies, wrong labels and weak groups are found and shown as text,
and no text does anything to the page that it is shown on.

Shapes: B texts, T tokens.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina.ask import ask
from lamina.bench.inputs import made
from lamina.errors import LaminaError
from lamina.inspect.excite import exciting
from lamina.inspect.probes import bag_of_tokens, of_tokens
from lamina.needs.asking import contents
from lamina.report import parts
from lamina.report.gather import Answer
from lamina.report.sections import answered
from lamina.run import Run
from lamina.stress.corruptions import corruptor, kinds_of, shown_texts
from lamina.stress.groups import writing
from lamina.stress.substitutes import substitutes
from lamina.stress.victim import Victim, at_rest
from lamina.verdict import Verdict
from text_task import KINDS, Sentences, prepared, sentences, trained

HERE = Path(__file__).parent
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
HEBREW = "הסרט הזה superb מאוד"
LEAKED, REPEATED, WRONG = 12, 10, 8


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose test part holds copies of training texts and hostile texts, and whose training part holds wrong labels."""
    folder = tmp_path_factory.mktemp("texts")
    columns = {part: sentences(n, seed) for seed, (part, n) in enumerate((("train", 260), ("valid", 60), ("calibration", 60)))}
    train = columns["train"]
    test = sentences(80, 9)
    for row in range(LEAKED):
        test["text"][row], test["label"][row] = train["text"][row], train["label"][row]  # type: ignore[index]
    for row in range(REPEATED):  # the same but for case, with the other label
        train["text"].append(train["text"][100 + row].upper())  # type: ignore[attr-defined]
        train["label"].append(KINDS[1 - KINDS.index(train["label"][100 + row])])  # type: ignore[attr-defined]
    for row in range(200, 200 + WRONG):
        train["label"][row] = KINDS[1 - KINDS.index(train["label"][row])]  # type: ignore[index]
    hostile = [f"{SCRIPT} tedious", f"{HEBREW}", "\x1b[31mred\u202e superb", "dreadful " * 30 + "long " * 3000]
    test["text"][-4:] = hostile  # type: ignore[index]
    test["label"][-4:] = ["good", "bad", "bad", "good"]  # type: ignore[index]  # all wrong, so that they are the worst
    rows = [
        {"text": text, "label": label, "part": part}
        for part, held in {**columns, "test": test}.items()
        for text, label in zip(held["text"], held["label"], strict=True)
    ]
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return lamina.train(str(HERE / "text_task.py"), data=str(file), out=str(folder / "run"), network="attentive", seed=0)


@pytest.fixture(scope="module")
def told(run: Run) -> dict[str, Verdict]:
    """Each question asked once; the run keeps the answers for its report."""
    asked = {"explain": {}, "inspect": {}, "stress": {"store": False}, "needs": {"curve": False}}
    return {verb: ask(verb, run, quick=True, **fields) for verb, fields in asked.items()}


@pytest.fixture(scope="module")
def report(run: Run, told: dict[str, Verdict]) -> str:
    made = ask("report", run, quick=True)
    return Path(made.details["page"]).read_text(encoding="utf-8")


def test_the_report_shows_texts_and_no_text_runs(run: Run, report: str) -> None:
    assert "<script" not in report and "<img src=x" not in report and "&lt;script&gt;" in report
    assert "class=shaded dir=auto" in report and "class=for" in report and HEBREW.split()[0] in report
    assert "\x1b" not in report and "\u202e" not in report
    worst = report[report.index("Most wrong about") :]
    assert "&lt;script&gt;" in worst and "dreadful dreadful" in worst and "long " * 60 not in worst  # cut at 400 characters
    for name in ("words", "corrupted texts", "examples that excite a unit", "label suspects"):
        assert f"<h3>{name}</h3>" in report, name
    assert "what-it-looked-at" not in report  # the texts themselves stand in place of their picture
    assert not re.search(r"This could not be answered", report)


def test_answers_in_any_order_and_beside_longer_texts(run: Run) -> None:
    texts = ["A superb film", "tedious", "The dreadful story of a man and a woman in the city, with music", "Superb"]
    together = list(run.predict([{"text": text} for text in texts]))
    alone = [next(iter(run.predict([{"text": text}]))) for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one["label"] == other["label"] and one["probability"] == pytest.approx(other["probability"], abs=1e-3)
    assert [a["label"] for a in together[:3]] == ["good", "bad", "bad"]
    with pytest.raises(LaminaError, match="expected a text; it is empty"):
        run.predict([{"text": ""}])


def test_copies_wrong_labels_and_conflicts_are_found(told: dict[str, Verdict]) -> None:
    needs = told["needs"]
    assert needs.details["leaked"]["exact"] == LEAKED and needs.figures["leaked_share"]["value"] >= LEAKED / 80
    assert all(row["text"] for row in needs.tables["leaks"])
    assert needs.figures["duplicate_share"]["value"] == pytest.approx(REPEATED / (260 + REPEATED))
    assert needs.figures["conflicting_labels"]["value"] >= 2 * REPEATED - 2
    assert any("stand with different labels" in line for line in needs.warnings)
    suspects = needs.tables["label suspects"]
    assert all(isinstance(row["text"], str) for row in suspects)


def test_texts_hash_alike_whatever_they_are_padded_with(run: Run) -> None:
    task = run.task
    short = {"text": ["A superb film"], "label": ["good"]}
    beside = {"text": ["A superb film", "the story " * 12], "label": ["good", "bad"]}
    assert contents(task, short)[0] == contents(task, beside)[0] != contents(task, beside)[1]
    left = Sentences(vocabulary=task.vocabulary, left=True)  # type: ignore[attr-defined]
    assert contents(left, beside) == contents(task, beside)


def test_corruptions_attacks_unknown_inputs_and_groups(run: Run, told: dict[str, Verdict]) -> None:
    stress = told["stress"]
    assert len(kinds_of(run.task)) == 12 and stress.figures["corruption"]["value"] < stress.figures["corruption_clean"]["value"]
    assert stress.skipped["corruption dropped_accents"].startswith("the data holds nothing")
    first, second = stress.sentences[0], next(line for line in stress.sentences if "on purpose" in line)
    assert "kinds of corruption" in first and "embedding, which nobody can type" in second  # the corruptions lead
    assert "attacks on the input itself" in stress.skipped
    assert {row["unknown"] for row in stress.tables["unknown_inputs"]} >= {"shuffled words", "made-up words", "program code"}
    assert stress.tables["corrupted texts"][0]["kind"] == "clean"


def test_a_corruption_is_of_raw_text_and_leaves_labels_alone() -> None:
    task, columns = prepared()
    made = corruptor(task, columns, 0)("keyboard_typos", 4)
    assert made is not None and made["label"] is columns["label"] and made["text"] != columns["text"]
    assert corruptor(task, {**columns, "text": [1] * 600}, 0)("casing", 1) is None  # no text: nothing to change
    rows = shown_texts(task, columns, ["casing", "dropped_accents"], 0)
    assert [row["kind"] for row in rows] == ["clean", "casing"] and rows[0]["text"] != rows[1]["text"]


def test_an_attack_leaves_padding_where_it_is() -> None:
    task, columns = prepared()
    model = trained(task, columns, steps=20)
    batch = task.encode({name: column[:9] for name, column in columns.items()}, "evaluate")
    with at_rest(model):
        victim = Victim.of(task, model, batch, None, "linf", 0.5)
        z = victim.space.project(torch.ones_like(victim.space.clean))
        moved_BT = (victim.space.at(z) != victim.space.clean).any(2)
    assert torch.equal(moved_BT, batch["tokens"] != 0)


def test_substitutes_are_as_many_as_the_examples() -> None:
    task, columns = prepared()
    sets = dict(substitutes(task, {name: column[:7] for name, column in columns.items()}, True, 0))
    assert len(sets) == 5 and all(len(batch["tokens"]) == 7 for batch in sets.values())


def test_groups_by_how_a_text_is_written() -> None:
    texts = ["all small", "ALL LOUD", "Some are 2", "naïve words here, with more of them."]
    tokens = np.array([[2, 5, 6, 3, 0], [2, 1, 1, 3, 0], [2, 5, 6, 7, 3], [2, 1, 6, 3, 0]])
    found: dict[str, Any] = writing(texts, tokens, 2)
    assert found["casing = no capitals"].tolist() == [True, False, False, True]
    assert found["casing = mostly capitals"].tolist() == [False, True, False, False]
    assert found["holds digits"].tolist() == [False, False, True, False]
    assert found["holds letters beyond a to z"].tolist() == [False, False, False, True]
    assert found["ends without punctuation"].tolist() == [True, True, True, False]
    assert found["none of tokens unknown"].tolist() == [True, False, True, False]
    assert found["more than 10% of tokens unknown"].tolist() == [False, True, False, True]
    assert not any("unknown" in name for name in writing(texts, None, 2)) and writing([""], None)["holds digits"].tolist() == [
        False
    ]


def test_probes_and_units_do_not_see_padding() -> None:
    x_BT = torch.tensor([[2, 7, 7, 3], [0, 2, 7, 3]])
    assert bag_of_tokens(x_BT)[0, 7] == 2 and bag_of_tokens(x_BT)[1, 0] == 0 and bag_of_tokens(x_BT).sum(1).tolist() == [4, 3]
    h_BTD = torch.tensor([[[1.0], [2.0], [3.0], [6.0]], [[99.0], [2.0], [3.0], [4.0]]])
    assert of_tokens(h_BTD, x_BT != 0).tolist() == [[3.0], [3.0]] and of_tokens(h_BTD[:, 0], x_BT != 0) is not None
    task, columns = prepared()
    model = trained(task, columns)
    batches = [task.encode({n: c[i : i + 20] for n, c in columns.items()}, "evaluate") for i in range(0, 60, 20)]
    together = [task.encode({n: c[:60] for n, c in columns.items()}, "evaluate")]
    assert exciting(task, model, ["lstm"], batches, 3, 5) == exciting(task, model, ["lstm"], together, 3, 5) != {"lstm": {}}


def test_places_of_a_text_are_no_units() -> None:
    """Scores of attention are as many as the longest text of a batch has tokens."""
    task, columns = prepared()

    class Scores(torch.nn.Module):
        def forward(self, x_BT: torch.Tensor) -> torch.Tensor:
            return x_BT.float().unsqueeze(2) * x_BT.float().unsqueeze(1)

    model = torch.nn.Sequential(Scores())
    texts = [task.encode({n: c[i : i + 3] for n, c in columns.items()}, "evaluate") for i in range(0, 30, 3)]
    name = task.inputs[0].name
    batches = [{**batch, name: batch[name][:, : 4 + i]} for i, batch in enumerate(texts[:3])]
    assert exciting(task, model, ["0"], batches, 3, 5) == {"0": {}}
    assert len(exciting(task, model, ["0"], batches[:1], 3, 5)["0"]) == 3


def test_made_inputs_hold_no_padding() -> None:
    task, _ = prepared()
    (tokens_BT,) = made(task, 5, 0)
    assert tokens_BT.dtype == torch.int64 and tokens_BT.shape == (5, 2)
    assert int(tokens_BT.min()) >= 4 and int(tokens_BT.max()) < len(task.vocabulary)
    tiny: Any = SimpleNamespace(inputs=Sentences(vocabulary=("<pad>", "<unk>")).inputs, sizes={})
    assert int(made(tiny, 3, 0)[0].max()) <= 3


def test_exported_texts_of_any_length_are_answered_alike(run: Run, tmp_path: Path) -> None:
    told = ask("export", run, out=str(tmp_path / "out"))
    assert any("the same answers as the run on 80 of 80" in line for line in told.sentences)


def test_int8_keeps_attention_with_a_mask(run: Run, tmp_path: Path) -> None:
    told = ask("shrink", run, method="int8", out=str(tmp_path / "small"))
    assert told.sentences
    small = lamina.load(tmp_path / "small", task_file=str(HERE / "text_task.py"))
    assert small.evaluate().metrics["accuracy"]["value"] > 0.9  # type: ignore[operator]


def test_hostile_titles_and_weights() -> None:
    row = {"about": "<b>x</b>\x1b[0m", "pieces": [["<i>", 1.0], [" & ", None], ["שלום", -0.4], ["faint", 0.01]]}
    page = answered(Answer("explain", Verdict("explain", texts={"<u>title": [row]})))
    assert "<i>" not in page and "<b>" not in page and "<u>" not in page and "\x1b" not in page and "&amp;" in page
    assert page.count("<span class=for style") == 1 and page.count("<span class=against style") == 1
    assert parts.table([{"text": "<script>"}]).count("<script>") == 0 and "dir=auto" in parts.table([{"text": "שלום"}])
