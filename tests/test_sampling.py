"""Sampling equals transformers', a row is written alike alone and in any batch, and pieces add up to the text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.decode.sampling import Sampling, candidates, draw, generator_of, nucleus, penalized
from lamina.decode.steps import WholeCalls, left_padded, unpadded
from lamina.decode.writing import BROKEN, Length, Writer, overlap, write
from lamina.errors import LaminaError
from tiny_writer import Table, asked_whole, tiny_gpt2


def letters(ids) -> str:
    return "".join(chr(97 + i) for i in ids)


def texts_of(steps, prompts: list[list[int]], sampling: Sampling, most: int, context: int | None = None, seed: int = 0, stop=()):
    writers = [Writer(letters, stop) for _ in prompts]
    told = [""] * len(prompts)
    for row, piece in write(steps, {"tokens": left_padded(prompts)}, sampling, Length(most, context), writers, seed):
        told[row] += piece
    assert told == [writer.text for writer in writers]
    return told


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(top_k=5),
        Sampling(top_p=0.8),
        Sampling(min_p=0.1),
        Sampling(repetition_penalty=1.7),
        Sampling(temperature=1.3, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.2),
    ],
)
def test_what_may_be_drawn_is_what_transformers_keeps(sampling: Sampling):
    from transformers import generation as g

    held, z_V = [4, 9, 9], np.random.default_rng(1).normal(size=50) * 2
    scores, ids = torch.from_numpy(z_V)[None], torch.tensor([held])
    processors = [
        g.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
        g.TemperatureLogitsWarper(sampling.temperature),
    ]
    processors += [g.TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    processors += [g.TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    processors += [g.MinPLogitsWarper(sampling.min_p)] if sampling.min_p else []
    for process in processors:
        scores = process(ids, scores)
    ours = penalized(z_V, held, sampling.repetition_penalty)
    kept, z = candidates(ours, sampling)
    assert kept.tolist() == torch.isfinite(scores[0]).nonzero()[:, 0].tolist()
    assert z == pytest.approx(scores[0, kept].numpy())


def test_draws_follow_the_probabilities():
    z_V = np.log(np.asarray([0.5, 0.25, 0.15, 0.1]))
    generator = np.random.default_rng(0)
    counts = np.bincount([draw(z_V, Sampling(), generator) for _ in range(4000)], minlength=4)
    assert counts / 4000 == pytest.approx([0.5, 0.25, 0.15, 0.1], abs=0.03)
    assert {draw(z_V, Sampling(top_k=2), generator) for _ in range(200)} == {0, 1}


def test_temperature_zero_takes_the_most_probable_and_draws_nothing():
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    assert draw(np.asarray([0.0, 3.0, 1.0]), Sampling(temperature=0), generator) == 1
    assert generator.bit_generator.state == before


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=700), st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_the_nucleus_is_the_fewest_that_hold_the_share(z, share):
    z_V = np.asarray(z)
    kept = nucleus(z_V, share)
    p_V = np.exp(z_V - z_V.max()) / np.exp(z_V - z_V.max()).sum()
    assert len(kept) and p_V[kept].sum() >= share - 1e-9
    assert p_V[kept].sum() - p_V[kept].min() < share + 1e-9
    assert p_V[kept].min() >= np.delete(p_V, kept).max(initial=0) - 1e-12


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.5}, {"min_p": 2}, {"repetition_penalty": 0}]
)
def test_settings_without_sense_are_named(wrong):
    with pytest.raises(LaminaError, match=next(iter(wrong)).replace("_", "-")):
        Sampling(**wrong).check()


def test_greedy_writes_what_transformers_generates():
    model, prompts = tiny_gpt2(), [[2, 7, 8], [2, 11], [2, 5, 6, 9, 21, 30]]
    ours = texts_of(WholeCalls(asked_whole(model), "tokens"), prompts, Sampling(temperature=0), 20)
    for prompt, text in zip(prompts, ours, strict=True):
        with torch.no_grad():
            made = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20, suppress_tokens=[0, 2])
        assert text == letters(t for t in made[0, len(prompt) :].tolist() if t != 3)


def test_greedy_with_a_repetition_penalty_writes_what_transformers_generates():
    model, prompt = tiny_gpt2(), [2, 7, 8]
    sampling = Sampling(temperature=0, repetition_penalty=1.5)
    (ours,) = texts_of(WholeCalls(asked_whole(model), "tokens"), [prompt], sampling, 20)
    with torch.no_grad():
        made = model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=20, suppress_tokens=[0, 2], repetition_penalty=1.5
        )
    assert ours == letters(t for t in made[0, len(prompt) :].tolist() if t != 3)


@given(st.lists(st.lists(st.integers(4, 20), max_size=9), min_size=1, max_size=6), st.integers(0, 5), st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_a_batch_equals_its_rows_alone(prompts, seed, most):
    prompts = [[2, *p] for p in prompts]
    steps, sampling = Table(24, 3), Sampling(temperature=0.9, top_p=0.95)
    together = texts_of(steps, prompts, sampling, most, seed=seed)
    assert together == [texts_of(steps, [p], sampling, most, seed=seed)[0] for p in prompts]


def test_seeds_differ_and_repeat():
    steps = Table(24, 3)
    one, again, other = (texts_of(steps, [[2, 5]], Sampling(), 30, seed=seed)[0] for seed in (0, 0, 1))
    assert one == again != other
    assert generator_of(0, [1]).random() != generator_of(0, [1, 2]).random()


class Watched(Table):
    """Counts the rows of every call, and refuses more tokens than it sees."""

    def __init__(self, *arguments, sees: int = 10**6) -> None:
        super().__init__(*arguments)
        self.sees, self.calls, self.width = sees, [], 0

    def begin(self, arrays):
        self.width = arrays["tokens"].shape[1]
        assert self.width <= self.sees
        self.calls.append(len(arrays["tokens"]))
        return super().begin(arrays)

    def step(self, token_B, state):
        self.width += 1
        assert self.width <= self.sees and len(state) == len(token_B)
        self.calls.append(len(token_B))
        return super().step(token_B, state)


def test_rows_that_have_ended_leave_the_batch():
    steps = Watched(8, 5)
    texts = texts_of(steps, [[2, i] for i in (4, 5, 6, 7)], Sampling(), 40)
    assert steps.calls[0] == 4 and steps.calls == sorted(steps.calls, reverse=True) and steps.calls[-1] == 1
    assert len(steps.calls) == max(map(len, texts)) + (max(map(len, texts)) < 40)


@pytest.mark.parametrize("prompts", [[[2, 5]], [[2, *range(4, 13)], [2, 5]], [[2, *range(4, 30)]]])
def test_a_text_longer_than_what_the_model_sees_goes_on(prompts):
    class Endless(Watched):
        def logits(self, tokens):
            return np.where(np.arange(self.vocabulary) == 3, -np.inf, super().logits(tokens))

    steps = Endless(40, 1, sees=12)
    together = texts_of(steps, prompts, Sampling(), 50, context=12)
    assert [len(text) for text in together] == [50] * len(prompts)
    assert together == [texts_of(Endless(40, 1), [p], Sampling(), 50, context=12)[0] for p in prompts]
    assert sum(steps.calls) < 60 * len(prompts)


def test_a_model_without_token_logits_is_named():
    with pytest.raises(LaminaError, match="token_logits"):
        WholeCalls(lambda arrays: {"logits": np.zeros((1, 2))}, "tokens").begin({"tokens": np.ones((1, 2), np.int64)})


def bytes_of(ids) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=4), max_size=3))
@settings(max_examples=200, deadline=None)
def test_pieces_add_up_and_break_no_character(text, stop):
    text = text.replace(BROKEN, "")
    writer = Writer(bytes_of, stop)
    pieces = []
    for byte in text.encode(errors="ignore"):
        if writer.ended is None:
            pieces.append(writer.add(byte))
    pieces.append(writer.finish("length"))
    whole = text.encode(errors="ignore").decode()
    ends = [whole.find(s) for s in stop if s in whole]
    assert BROKEN not in "".join(pieces)
    told = "".join(pieces)
    assert told == writer.text and whole.startswith(told) and writer.ended == ("stop" if ends else "length")
    assert (not ends and told == whole) or any(whole[len(told) :].startswith(s) for s in stop)


def test_bytes_that_are_no_text_are_told_all_the_same():
    writer = Writer(bytes_of)
    assert "".join([*(writer.add(byte) for byte in b"a\xff\xff\xff\xff\xffb"), writer.finish("end")]) == "a" + BROKEN * 5 + "b"


def test_a_stop_string_is_held_back_and_never_told():
    writer = Writer(letters, ("cd",))
    assert [writer.add(i) for i in (0, 2, 2)] == ["a", "", "c"]
    assert writer.add(3) == "" and writer.ended == "stop" and writer.text == "ac"
    assert writer.finish("length") == ""
    assert overlap("abc", "bcd") == 2 and overlap("abc", "x") == 0


def test_what_was_held_back_is_told_at_the_end():
    writer = Writer(letters, ("cd",))
    writer.add(2)
    assert writer.text == "" and writer.finish("length") == "c" and writer.text == "c" and writer.ended == "length"


def test_no_rows_no_tokens_and_nothing_to_write():
    assert texts_of(Table(8, 0), [[2]], Sampling(), 0) == [""]
    assert left_padded([], 3).shape == (0, 3) and unpadded(np.asarray([[0, 2, 4, 0]])) == [[2, 4]]
