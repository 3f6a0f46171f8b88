import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.export import Dim

from lamina.errors import LaminaError
from lamina.models.transformer import Shape
from lamina.models.transformer_decoder import Decoder, gpt2, llama
from lamina.models.transformer_encoder import EncoderClassifier, bert
from lamina.models.transformer_translator import TransformerTranslator, vaswani
from sequence_checks import (
    check_classifier,
    check_documents,
    check_generator,
    check_graphs,
    close,
    learns,
    onnx_of,
    padded,
    randomize,
    tokens,
)

V = 12
SHAPES = {
    "gpt2": gpt2(16, 2, 4, 96, 0.0),
    "llama": llama(16, 2, 4, 96, groups=2),
    "sinusoidal": Shape(16, 2, 2, 24, 96, positions="sinusoidal", feed_forward="silu"),
    "normed heads": Shape(16, 2, 2, 24, 96, positions="rotary", normed_heads=True),
}


@pytest.mark.parametrize("shape", [bert(16, 2, 2, 20), llama(16, 2, 2, 20)], ids=["post", "pre"])
@pytest.mark.parametrize("pool", ["mean", "first"])
def test_encoder_is_blind_to_padding(shape, pool):
    check_classifier(randomize(EncoderClassifier(V, 3, shape, pool)), V, 3)


@pytest.mark.parametrize("restarts", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_decoder_cached_equals_uncached(name, restarts):
    check_generator(randomize(Decoder(V, SHAPES[name], restarts=restarts)), None, V)


@pytest.mark.parametrize("name", SHAPES)
def test_documents_in_one_row_do_not_see_each_other(name):
    check_documents(randomize(Decoder(V, SHAPES[name])), V)


@pytest.mark.parametrize("translations", [0, 3])
@pytest.mark.parametrize(
    "shape",
    [vaswani(16, 2, 4, 96, 0.0), llama(16, 2, 4, 96, groups=2), SHAPES["normed heads"]],
    ids=["vaswani", "llama", "normed heads"],
)
def test_translator_cached_equals_uncached(shape, translations):
    sources = [tokens(1, n, V, 30 + n)[0] for n in (6, 3, 4)]
    model = randomize(TransformerTranslator(V, shape, shape, translations=translations))
    check_generator(model, sources, V)
    attention = model(padded(sources, True), tokens(3, 4, V))["attention"]
    assert attention.shape == (3, 4, 6)
    close(attention.sum(-1), torch.ones(3, 4))
    assert (attention[1, :, :3] < 1e-6).all()


def test_both_ways_of_a_decoder_agree():
    for name, shape in SHAPES.items():
        one, other = (randomize(Decoder(V, shape, restarts=restarts)) for restarts in (True, False))
        x = padded([tokens(1, n, V)[0] for n in (5, 3)], left=name == "llama")
        close(one(x)["token_logits"][x != 0], other(x)["token_logits"][x != 0])


def test_a_step_sees_nothing_that_comes_later():
    model = randomize(Decoder(V, SHAPES["llama"], restarts=False))
    x = tokens(2, 8, V)
    changed = x.clone()
    changed[:, 5:] = 4
    close(model(x)["token_logits"][:, :5], model(changed)["token_logits"][:, :5])


def test_tables_are_shared():
    model = Decoder(V, SHAPES["gpt2"])
    assert model.head.weight is model.embed.weight
    assert Decoder(V, SHAPES["gpt2"], tied=False).head.weight is not model.embed.weight
    translator = TransformerTranslator(V, SHAPES["gpt2"], SHAPES["gpt2"])
    assert translator.embed.weight is translator.embed_target.weight is translator.head.weight
    assert TransformerTranslator(V, SHAPES["gpt2"], SHAPES["gpt2"], 20).embed.weight.shape == (20, 16)


def test_starts_as_published():
    with torch.device("meta"):
        assert sum(p.numel() for p in Decoder(50257, gpt2()).parameters()) == 124_439_808
    model = Decoder(500, gpt2(64, 8, 4, 64))
    assert model.stack.blocks[0].attention.layer.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.stack.blocks[0].feed_forward.layer.project.weight.std().item() == pytest.approx(0.02 / 16**0.5, rel=0.05)
    loss = F.cross_entropy(model.eval()(tokens(4, 32, 500))["token_logits"].flatten(0, 1), tokens(4, 32, 500, 1).flatten())
    assert loss.item() == pytest.approx(torch.tensor(500.0).log().item(), rel=0.05)


def test_says_what_does_not_fit():
    with pytest.raises(LaminaError, match="heads: expected a divisor of the width 16, got 3"):
        Decoder(V, gpt2(16, 1, 3))
    with pytest.raises(LaminaError, match="groups: expected a divisor"):
        Decoder(V, llama(16, 1, 4, 8, groups=3))
    with pytest.raises(LaminaError, match="even width"):
        Decoder(V, llama(12, 1, 4, 8))
    with pytest.raises(LaminaError, match="at most 8 in a row"):
        Decoder(V, gpt2(16, 1, 2, 8))(tokens(1, 9, V))


def test_bfloat16_autocast():
    for name, shape in SHAPES.items():
        model = randomize(Decoder(V, shape))
        expected = model(tokens(2, 6, V))["token_logits"]
        with torch.autocast("cpu", torch.bfloat16):
            actual = model(tokens(2, 6, V))["token_logits"]
            _, state = model.begin(tokens(2, 6, V))
            logits, _ = model.step(torch.tensor([4, 5]), state)
        assert actual.dtype == logits.dtype == torch.float32, name
        assert (actual - expected).abs().max() < 0.15 * expected.std(), name


def test_decoder_learns_to_repeat():
    """<bos> a b c d a b c d: the second half is known."""
    torch.manual_seed(0)

    def loss(model):
        half = torch.randint(4, V, (32, 4))
        x = torch.cat([torch.full((32, 1), 2), half, half], 1)
        return F.cross_entropy(model(x[:, :-1])["token_logits"][:, 4:].flatten(0, 1), x[:, 5:].flatten())

    assert learns(Decoder(V, llama(32, 2, 4, 16), restarts=False), loss, 250, 5e-3) < 0.1


def test_translator_learns_to_reverse():
    torch.manual_seed(0)

    def loss(model):
        source = torch.randint(4, V, (32, 4))
        target = torch.cat([torch.full((32, 1), 2), source.flip(1)], 1)
        return F.cross_entropy(model(source, target[:, :-1])["token_logits"].flatten(0, 1), target[:, 1:].flatten())

    shape = dataclasses.replace(vaswani(32, 2, 4, 16, 0.0), placement="pre")
    assert learns(TransformerTranslator(V, shape, shape), loss, 250, 3e-3) < 0.2


def test_encoder_exports_at_other_lengths(tmp_path):
    pytest.importorskip("onnxruntime")
    model = randomize(EncoderClassifier(V, 3, bert(16, 2, 2, 40)))
    shapes = {0: Dim("B", min=1), 1: Dim("T", min=1, max=40)}
    run = onnx_of(model, (tokens(2, 5, V),), (shapes,), ["text"], tmp_path / "m.onnx")
    for rows, length in ((1, 1), (3, 9), (2, 30)):
        x = padded([tokens(1, max(length - i, 1), V)[0] for i in range(rows)], True)
        close(torch.from_numpy(run(x)[0]), model(x)["logits"], 1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_generation_exports(name, tmp_path):
    pytest.importorskip("onnxruntime")
    model = randomize(Decoder(V, SHAPES[name]))
    x = padded([tokens(1, n, V)[0] for n in (6, 4)], True)
    check_graphs(model, [x], ({0: Dim("B", min=1), 1: Dim("T", min=1, max=40)},), ["text"], tmp_path)


@pytest.mark.parametrize("translations", [0, 3])
def test_translation_exports(tmp_path, translations):
    pytest.importorskip("onnxruntime")
    shape = vaswani(16, 2, 4, 96, 0.0)
    model = randomize(TransformerTranslator(V, shape, shape, translations=translations))
    x = padded([tokens(1, n, V)[0] for n in (6, 4)], True)
    batch = Dim("B", min=1)
    shapes = ({0: batch, 1: Dim("S", min=1, max=40)}, {0: batch, 1: Dim("T", min=1, max=40)})
    check_graphs(model, [x, x[:, 1:].clone()], shapes, ["source", "target"], tmp_path)
