"""A checkpoint of transformers goes on learning and writes as transformers does: its ids, its cache, its chat template."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lamina
from lamina.data.source import Source
from lamina.modalities.hub_pieces import chat_frame, ids, json_of, opened, pieces_of
from lamina.models.gpt2 import GPT2, fits
from lamina.models.pretrained_lm import PretrainedLM, settings_of
from lamina.tasks.text_generation import TextGeneration
from test_text_generation import verses

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random GPT-2 with a tokenizer of its own and a chat template."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()  # type: ignore[assignment]
    special = ["<|end|>", "<|user|>"]
    trainer = BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([verses(200)], trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", bos_token="<|end|>", additional_special_tokens=["<|user|>"]
    )
    fast.chat_template = "{{ bos_token }}{% for m in messages %}<|user|>{{ m.content }}\n{% endfor %}says: "
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=304, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, initializer_range=0.4
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


def prepared(place: str, **fields) -> tuple[TextGeneration, GPT2]:
    task = TextGeneration(pretrained=place, context=64, **fields)
    data = task.read(Source(data=[verses(60)]))
    ready = task.prepare(data)
    model = ready.model()
    ready.init(model, data)
    assert isinstance(model, GPT2)
    return ready, model.eval()


def test_tokens_are_those_of_the_tokenizer(place: str):
    tokenizer = opened(place)
    text = "anna likes dora  very ümuch\n"
    found = ids(json_of(tokenizer), text)
    assert (found - 4).tolist() == tokenizer(text)["input_ids"]
    pieces = pieces_of(tokenizer)
    assert "".join(pieces[i - 4] for i in found).encode("latin-1").decode() == text
    assert pieces[tokenizer.convert_tokens_to_ids("<|user|>")] == ""


def wrapped(place: str) -> PretrainedLM:
    model = PretrainedLM(settings_of(place))
    model.load(place)
    return model.eval()


def test_our_own_decoder_says_what_the_wrapped_model_says(place: str):
    ready, own = prepared(place)
    batch = ready.encode({"text": ["anna likes dora", "carl"], "ends": [True, False]}, "evaluate")
    with torch.no_grad():
        one, other = own(batch["tokens"])["token_logits"], wrapped(place)(batch["tokens"])["token_logits"]
    inside = batch["tokens"] != 0
    torch.testing.assert_close(one[inside], other[inside], rtol=1e-4, atol=1e-4)
    assert not fits({**settings_of(place), "activation_function": "relu"})


@pytest.mark.parametrize("how", ["own", "wrapped"])
def test_it_writes_what_transformers_generates(place: str, how: str):
    ready, model = prepared(place)
    model = model if how == "own" else wrapped(place)
    tokenizer, theirs = opened(place), transformers.GPT2LMHeadModel.from_pretrained(place).eval()
    decoder = ready.serving().decoder
    texts = ["anna likes", "carl", "dora calls bela by name\n"]
    task = TextGeneration(**{**ready.hyperparameters(), "temperature": 0.0, "new_tokens": 20}).with_state(ready.state())
    answers = task.predict(model, task.encode({"text": texts}, "predict"))
    assert type(decoder) is type(task.serving().decoder)
    for text, answer in zip(texts, answers, strict=True):
        given = torch.tensor([[0, *tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            made = theirs.generate(given, do_sample=False, max_new_tokens=20, pad_token_id=0)
        new = made[0, given.shape[1] :].tolist()
        assert answer["text"] == tokenizer.decode(new, skip_special_tokens=True)
        assert answer["ended"] == ("end" if 0 in new else "length")


def test_the_chat_template_frames_a_prompt(place: str):
    assert chat_frame(opened(place)) == ("<|user|>", "\nsays: ")
    ready, _ = prepared(place, chat=True)
    tokens = ready.encode({"text": ["hello"]}, "predict")["tokens"][0]
    wanted = opened(place)("<|user|>hello\nsays: ")["input_ids"]
    assert tokens.tolist() == [2, *(i + 4 for i in wanted)]


def test_it_goes_on_learning_with_lora_and_opens_without_the_checkpoint(place: str, tmp_path: Path):
    run = lamina.train(
        "text-generation", data=[verses(120)], pretrained=place, lora=4, context=32, steps=30, batch_size=8, lr=2e-2, quiet=True,
        tensorboard=False, device="cpu", precision="float32", evaluations=1, out=str(tmp_path / "run"),
    )  # fmt: skip
    before, model = prepared(place)
    data = before.read(Source(data=[verses(120)]))
    untrained = before.evaluate(model, data.test)[0]["bits_per_byte"]
    assert run.info["metrics"]["bits_per_byte"]["value"] < 0.9 * untrained
    Path(place).rename(tmp_path / "gone")
    try:
        assert lamina.load(run.folder).predict({"text": "anna "}, new_tokens=5)[0]["tokens"] <= 5
    finally:
        (tmp_path / "gone").rename(place)
