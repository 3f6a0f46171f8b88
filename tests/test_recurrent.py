import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim

from lamina.errors import LaminaError
from lamina.models.recurrent import RecurrentClassifier, RecurrentDecoder
from lamina.models.recurrent_translator import RecurrentTranslator
from lamina.nn.recurrent import Bidirectional, Recurrent
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
KINDS = ["rnn", "lstm", "gru"]


@pytest.mark.parametrize("kind", KINDS)
def test_equations_equal_torch(kind):
    """The cells as written out, torch's kernel, and torch's own packed sequences: the same numbers from the same weights."""
    layer = randomize(Recurrent(kind, 5, 4))
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 2, 4])
    state = torch.randn(3, layer.parts, 4)
    real = torch.arange(7) < lengths[:, None]
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    start = state.transpose(0, 1).unsqueeze(1).contiguous()
    said, last = layer.kernel(packed, (start[0], start[1]) if kind == "lstm" else start[0])
    expected, _ = nn.utils.rnn.pad_packed_sequence(said, True)
    expected_last = torch.stack([part[0] for part in (last if kind == "lstm" else (last,))], 1)

    y, final = layer.unrolled(x, real, ~real & False, state)
    close(y[real], expected[real])
    close(final, expected_last)
    y, final = layer.finish(x, lengths, state)
    close(y[real], expected[real])
    close(final, expected_last)
    close(layer(x, state)[real], expected[real])
    for t in range(7):
        state = layer.step(x[:, t], state)
        close(state[real[:, t], 0], expected[real[:, t], t])


@pytest.mark.parametrize("kind", KINDS)
def test_both_directions_equal_torch(kind):
    layer = randomize(Bidirectional(kind, 5, 4))
    theirs = type(layer.ahead.kernel)(5, 4, batch_first=True, bidirectional=True)
    theirs.load_state_dict(
        {**layer.ahead.kernel.state_dict(), **{f"{k}_reverse": v for k, v in layer.back.kernel.state_dict().items()}}
    )
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 2, 4])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], True)
    real = torch.arange(7) < lengths[:, None]
    close(layer(x, lengths)[real], expected[real])


def test_forget_gate_starts_open():
    layer = Recurrent("lstm", 5, 4)
    assert layer.kernel.bias_ih_l0.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    close(layer.kernel.weight_hh_l0[:4] @ layer.kernel.weight_hh_l0[:4].T, torch.eye(4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("pool", "both"), [("last", True), ("last", False), ("mean", True), ("max", True), ("attention", True)])
def test_classifier_is_blind_to_padding(kind, pool, both):
    check_classifier(randomize(RecurrentClassifier(V, 3, kind, 6, 5, 2, both, pool)), V, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tied", "restarts"), [(True, True), (False, False)])
def test_decoder_cached_equals_uncached(kind, tied, restarts):
    check_generator(randomize(RecurrentDecoder(V, kind, 6, 5, 2, 0.0, tied, restarts)), None, V)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_in_one_row_do_not_see_each_other(kind):
    check_documents(randomize(RecurrentDecoder(V, kind, 6, 5, 2)), V)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("score", "depth"), [("general", 2), ("additive", 1)])
def test_translator_cached_equals_uncached(kind, score, depth):
    sources = [tokens(1, n, V, 30 + n)[0] for n in (6, 3, 4)]
    model = randomize(RecurrentTranslator(V, kind, 6, 5, depth, score, translations=3 * (depth == 2)))
    check_generator(model, sources, V)
    attention = model(padded(sources, True), tokens(3, 4, V))["attention"]
    close(attention.sum(-1), torch.ones(3, 4))
    assert (attention[1, :, :3] == 0).all()


def test_empty_rows_and_meta():
    empty = torch.zeros(2, 3, dtype=torch.int64)
    decoder, translator = RecurrentDecoder(V, "lstm", 6, 5), RecurrentTranslator(V, "lstm", 6, 5)
    for said in (decoder(empty)["token_logits"], decoder.begin(empty)[0], translator(empty, empty)["token_logits"]):
        assert torch.isfinite(said).all()
    with torch.device("meta"):
        x = torch.zeros(2, 3, dtype=torch.int64)
        assert RecurrentClassifier(V, 3)(x)["logits"].shape == (2, 3)
        assert RecurrentDecoder(V)(x)["token_logits"].shape == (2, 3, V)
        assert RecurrentTranslator(V)(x, x)["attention"].shape == (2, 3, 3)


def test_says_what_does_not_fit():
    with pytest.raises(LaminaError, match="kind: expected one of"):
        RecurrentDecoder(V, "elman")  # type: ignore[arg-type]
    with pytest.raises(LaminaError, match="pool: expected"):
        RecurrentClassifier(V, 3, pool="sum")  # type: ignore[arg-type]
    with pytest.raises(LaminaError, match="score: expected"):
        RecurrentTranslator(V, score="dot")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_decoder_learns_to_count(kind):
    """<bos> 4 5 6 ... from any start: each token is the one before plus one; two documents in a row."""
    torch.manual_seed(0)

    def loss(model):
        count = (torch.randint(0, 8, (16, 2, 1)) + torch.arange(5)) % 8 + 4
        x = torch.cat([torch.full((16, 2, 1), 2), count], 2).flatten(1)
        told = torch.ones_like(x[:, 1:], dtype=torch.bool)
        told[:, ::6] = told[:, 5::6] = False  # a document's first token, and the next document's <bos>, cannot be told
        return F.cross_entropy(model(x[:, :-1])["token_logits"][told], x[:, 1:][told])

    assert learns(RecurrentDecoder(V, kind, 16, 24, 1, 0.0), loss, 120, 1e-2) < 0.1


def test_translator_learns_to_reverse_and_to_look():
    torch.manual_seed(0)

    def loss(model):
        source = torch.randint(4, V, (32, 4))
        target = torch.cat([torch.full((32, 1), 2), source.flip(1)], 1)
        return F.cross_entropy(model(source, target[:, :-1])["token_logits"].flatten(0, 1), target[:, 1:].flatten())

    assert learns(RecurrentTranslator(V, "gru", 24, 24, 2, dropout=0.0), loss, 200, 1e-2) < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_classifier_exports_at_other_lengths(kind, tmp_path):
    """Both directions, padding included, in ONNX Runtime at lengths and batch sizes other than those traced."""
    pytest.importorskip("onnxruntime")
    model = randomize(RecurrentClassifier(V, 3, kind, 6, 5, 1))
    shapes = {0: Dim("B", min=1), 1: Dim("T", min=1, max=40)}
    run = onnx_of(model, (tokens(2, 5, V),), (shapes,), ["text"], tmp_path / "m.onnx")
    for rows, length in ((1, 1), (3, 9), (5, 30)):
        for left in (True, False):
            x = padded([tokens(1, max(length - 3 * i, 1), V)[0] for i in range(rows)], left)
            close(torch.from_numpy(run(x)[0]), model(x)["logits"], 1e-4)


def test_decoder_exports_with_documents(tmp_path):
    pytest.importorskip("onnxruntime")
    model = randomize(RecurrentDecoder(V, "lstm", 6, 5, 1))
    shapes = {0: Dim("B", min=1), 1: Dim("T", min=1, max=40)}
    run = onnx_of(model, (tokens(2, 5, V),), (shapes,), ["text"], tmp_path / "m.onnx")
    for lengths in ([1], [4, 3, 2], [9, 20]):
        x = padded([torch.cat([tokens(1, n, V)[0], tokens(1, 3, V)[0]]) for n in lengths], True)
        close(torch.from_numpy(run(x)[0])[x != 0], model(x)["token_logits"][x != 0], 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_generation_exports(kind, tmp_path):
    pytest.importorskip("onnxruntime")
    model = randomize(RecurrentDecoder(V, kind, 6, 5, 1))
    x = padded([tokens(1, n, V)[0] for n in (6, 4)], True)
    check_graphs(model, [x], ({0: Dim("B", min=1), 1: Dim("T", min=1, max=40)},), ["text"], tmp_path)


@pytest.mark.parametrize("translations", [0, 3])
def test_translation_exports(tmp_path, translations):
    pytest.importorskip("onnxruntime")
    model = randomize(RecurrentTranslator(V, "lstm", 6, 5, 2, translations=translations))
    x = padded([tokens(1, n, V)[0] for n in (6, 4)], True)
    batch = Dim("B", min=1)
    shapes = ({0: batch, 1: Dim("S", min=1, max=40)}, {0: batch, 1: Dim("T", min=1, max=40)})
    check_graphs(model, [x, x[:, 1:].clone()], shapes, ["source", "target"], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_translator_computes_in_bfloat16_whatever_the_processor(kind):
    """oneDNN has no such LSTM where there is only AVX2; the layers above the first read what is in bfloat16 already."""
    model = randomize(RecurrentTranslator(V, kind, 6, 5, 2))
    source, target = tokens(2, 4, V), tokens(2, 3, V)
    with torch.no_grad():
        exact, (first, _) = model(source, target)["token_logits"], model.begin(source, target)
        with torch.autocast("cpu", torch.bfloat16):
            half, (begun, state) = model(source, target)["token_logits"], model.begin(source, target)
            model.step(target[:, 0], state)
    assert (half - exact).abs().max() < 0.3 and (begun - first).abs().max() < 0.3
