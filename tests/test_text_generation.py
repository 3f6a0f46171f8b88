"""A language model learns a text, writes alike with and without its memory, alone and in a batch, with and without torch."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina.cli import main
from lamina.data.columns import length, take
from lamina.decode.steps import WholeCalls
from lamina.decode.text_answers import TextAnswers
from lamina.errors import LaminaError
from lamina.models.recurrent import RecurrentDecoder
from lamina.models.transformer_decoder import Decoder, llama
from lamina.run import Run, forward_of
from lamina.task import Writes, array_of, asking
from lamina.tasks.text_generation import TextGeneration

QUIET = ["--quiet", "--no-tensorboard", "--device", "cpu", "--precision", "float32", "--evaluations", "1"]
TINY: dict[str, Any] = {"width": 32, "depth": 2, "context": 32, "dropout": 0.0}


def verses(count: int, seed: int = 0) -> str:
    """Lines of a small language: who does what to whom; the verb decides the end."""
    rng = random.Random(seed)
    ends = {"sees": "far away", "likes": "very much", "calls": "by name"}
    names = ["anna", "bela", "carl", "dora"]
    lines = [(rng.choice(names), rng.choice(list(ends)), rng.choice(names)) for _ in range(count)]
    return "".join(f"{a} {verb} {b} {ends[verb]}\n" for a, verb, b in lines)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small decoder that has read 1,500 lines of it."""
    folder = tmp_path_factory.mktemp("generation")
    (folder / "verses.txt").write_text(verses(1500))
    words = ["train", "text-generation", "--data", str(folder / "verses.txt"), "--steps", "200", "--batch-size", "16"]
    sizes = [part for name, value in TINY.items() for part in (f"--{name}", str(value))]
    assert main([*words, *sizes, *QUIET, "--out", str(folder / "run")]) == 0
    return lamina.load(folder / "run")


def test_it_learns_the_language(run: Run):
    metrics = run.info["metrics"]
    assert run.task.headline == ("bits_per_byte", "min") and next(iter(metrics)) == "bits_per_byte"
    # 4 names (2 bits), 3 verbs, 4 names: 5.6 bits a line of 23 bytes are 0.24 a byte; more where a passage begins inside a line
    assert 0.24 < metrics["bits_per_byte"]["value"] < 0.56
    assert metrics["perplexity"]["value"] == pytest.approx(2 ** metrics["bits_per_byte"]["value"], rel=1e-2)
    (answer,) = run.predict({"text": "anna likes dora"}, temperature=0.0, new_tokens=16)
    assert answer["text"].startswith(" very much\n") and answer["tokens"] == 16 and answer["ended"] == "length"


def test_settings_of_answers_may_be_said_anew(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (answer,) = run.predict({"text": "anna calls "}, temperature=0.0, stop=("by",))
    assert answer["ended"] == "stop" and answer["text"].strip() in ("anna", "bela", "carl", "dora")
    one, again, other = (run.predict({"text": "anna"}, draw_seed=seed, new_tokens=40)[0]["text"] for seed in (1, 1, 2))
    assert one == again != other
    with pytest.raises(LaminaError, match="no setting 'temprature' of its answers; did you mean temperature"):
        run.predict({"text": "anna"}, temprature=1)
    with pytest.raises(LaminaError, match="--top-p: expected a share"):
        run.predict({"text": "anna"}, top_p=2.0)
    assert run.task.new_tokens == 200  # type: ignore[attr-defined]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"text": "anna likes dora"}) + "\n" + json.dumps({"text": "d"}) + "\n")
    words = ["predict", str(run.folder), str(prompts), "--temperature", "0", "--new-tokens", "11", "--json", "--device", "cpu"]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["text"] == " very much\n" and len(lines) == 2 and lines[1]["tokens"] == 11
    assert main(["predict", str(run.folder), "--help"]) == 0
    assert "--repetition-penalty" in capsys.readouterr().out


def test_beams_find_what_is_at_least_as_probable(run: Run):
    forward = run.forward("cpu", "float32")

    def cost(text: str) -> float:
        batch = run.task.encode({"text": [text]}, "evaluate")
        return float(run.task.loss(forward(batch["tokens"]), batch)[0])  # type: ignore[index, call-overload]

    greedy, beam = (
        run.predict({"text": "bela "}, new_tokens=12, length_penalty=0.0, **how)[0]["text"]
        for how in ({"temperature": 0.0}, {"beams": 4})
    )
    assert cost("bela " + beam) <= cost("bela " + greedy) + 1e-4


def test_pieces_stream_to_the_same_text(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    whole = run.predict({"text": "carl sees"}, new_tokens=30)[0]["text"]
    task = run.answering(new_tokens=30).task
    batch, forward = task.encode({"text": ["carl sees"]}, "predict"), run.forward("cpu", "float32")
    decoder: Any = task.serving().decoder  # type: ignore[union-attr]
    pieces = [piece for _, piece in decoder.stream(asking(forward, task.inputs, batch), {"tokens": batch["tokens"].numpy()})]
    assert "".join(pieces) == whole and len(pieces) > 20


def test_a_new_reading_gives_the_same_passages(run: Run):
    data = run.data()
    again = run.task.evaluate(run.forward("cpu", "float32"), data.test)[0]
    assert again["bits_per_byte"] == pytest.approx(run.info["metrics"]["bits_per_byte"]["value"], abs=1e-6)
    assert sum(map(sum, (data.train["bytes"], data.valid["bytes"], data.test["bytes"]))) == len(verses(1500))
    with pytest.raises(LaminaError, match="--context: expected 8"):
        lamina.train("text-generation", data=["some text"], context=2)


def models() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    made: dict[str, torch.nn.Module] = {"decoder": Decoder(30, llama(32, 2, 4, 24), tied=False, restarts=False)}
    made |= {cell: RecurrentDecoder(30, cell, 24, 24, 2, 0.0, tied=False, restarts=False) for cell in ("lstm", "gru", "rnn")}
    for model in made.values():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return {name: model.eval() for name, model in made.items()}


@pytest.mark.parametrize("name", list(models()))
@pytest.mark.parametrize("how", [{"temperature": 0.0}, {"temperature": 1.2, "top_p": 0.9}, {"beams": 3}], ids=str)
def test_with_memory_it_writes_what_it_writes_without(name: str, how: dict[str, Any]):
    model = models()[name]
    assert isinstance(model, Writes)
    forward = forward_of(model, "float32", torch.device("cpu"))
    prompts = [[2, 5, 9], [2], [2, *range(4, 20)], [2, 29]]
    tokens = np.zeros((4, 17), np.int64)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[17 - len(prompt) :] = prompt
    decoder = TextAnswers(tuple(chr(65 + i) for i in range(26)), context=24, new_tokens=7 if "beams" in how else 30, **how)
    batch = {"tokens": torch.from_numpy(tokens)}
    ask = asking(forward, TextGeneration(token_texts=tuple("ab")).inputs, batch)
    cached = decoder.answers(ask, {"tokens": tokens})
    whole = decoder.answers(lambda arrays: {"token_logits": array_of(forward(torch.from_numpy(arrays["tokens"]))["token_logits"])},
                            {"tokens": tokens})  # fmt: skip
    assert cached == whole and any(answer["tokens"] for answer in cached)
    for prompt, answer in zip(prompts, cached, strict=True):
        assert decoder.answers(ask, {"tokens": np.asarray([prompt])}) == [answer]
    assert isinstance(WholeCalls(ask, "tokens"), WholeCalls)


@pytest.mark.parametrize("name", list(models()))
def test_padding_on_either_side_changes_nothing(name: str):
    model, text = models()[name], torch.tensor([[2, 7, 9, 11]])
    pad = torch.zeros(1, 3, dtype=torch.int64)
    with torch.no_grad():
        alone = model(text)["token_logits"]
        left, right = model(torch.cat([pad, text], 1))["token_logits"], model(torch.cat([text, pad], 1))["token_logits"]
    torch.testing.assert_close(left[:, 3:], alone)
    torch.testing.assert_close(right[:, :4], alone)
    assert torch.isfinite(left).all() and torch.isfinite(right).all()


def test_exported_it_writes_without_torch(run: Run, tmp_path: Path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from test_export_runner import runner

    place = tmp_path / "exported"
    verdict = run.ask("export", out=str(place), examples=20)
    assert verdict.figures["changed_answers"]["value"] == 0 and not verdict.skipped
    files = {path.name for path in place.glob("model.*")}
    assert files == {"model.onnx", "model.begin.onnx", "model.step.onnx", "model.weights"}
    weights = sum(p.numel() * 4 for p in run.model().parameters())
    assert (place / "model.weights").stat().st_size < 1.2 * weights  # once, not three times
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("anna likes dora", "b", "carl sees bela far")))
    answers, errors, status = runner(place, str(prompts), "--json")
    wanted = run.predict([str(prompts)], device="cpu", precision="float32")
    assert (status, errors) == (0, []) and answers == wanted and all(answer["tokens"] == 200 for answer in answers)


def test_bits_count_bytes_and_not_tokens():
    examples = {"text": ["ab", "ä"], "bytes": np.asarray([2, 2])}
    predictions = {"loss_total": np.asarray([np.log(2) * 3, np.log(2)]), "loss_count": np.asarray([2.0, 1.0])}
    metrics = TextGeneration().metrics(examples, predictions)  # type: ignore[arg-type]
    assert metrics["bits_per_byte"] == pytest.approx(1.0) and metrics["perplexity"] == pytest.approx(2 ** (4 / 3))


def test_the_tokenizer_follows_the_text():
    one = TextGeneration().read(lamina.data.source.Source(data=[verses(100)]))
    assert TextGeneration().prepare(one).kind == "characters"
    many = TextGeneration().read(lamina.data.source.Source(data=[verses(8, seed) for seed in range(40)]))
    prepared = TextGeneration().prepare(many)
    assert prepared.kind == "bpe" and all(length(part) for part in (many.train, many.valid, many.test))
    batch = prepared.encode(take(many.train, range(5)), "evaluate")
    assert batch["tokens"].shape == batch["label"].shape and int(batch["tokens"].max()) < len(prepared.token_texts) + 4


def test_a_terminal_shows_the_prompt_and_what_follows(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from lamina.predict import print_stream, streams

    asked = run.answering(new_tokens=12)
    assert streams(asked)
    print_stream(asked, ["anna likes", "carl"], "cpu", "float32")
    wanted = [text + asked.predict(text, device="cpu", precision="float32")[0]["text"] for text in ("anna likes", "carl")]
    assert capsys.readouterr().out == "".join(text + "\n" for text in wanted)
