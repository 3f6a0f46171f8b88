"""Our Transformers against the independent implementations of `transformers`, with the same random weights."""

import pytest
import torch

from lamina.errors import LaminaError
from lamina.models.checkpoints import bert_weights, gpt2_weights, llama_weights, marian_weights, shapes
from lamina.models.transformer_decoder import Decoder
from lamina.models.transformer_encoder import EncoderClassifier
from lamina.models.transformer_translator import TransformerTranslator
from sequence_checks import close, padded, randomize, tokens

transformers = pytest.importorskip("transformers")
V = 30


def rows(*lengths):
    return [tokens(1, n, V, n)[0] for n in lengths]


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_decoder_equals_theirs(family):
    if family == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=V, n_positions=20, n_embd=16, n_layer=2, n_head=4, bos_token_id=2, eos_token_id=3
        )
        theirs, convert = randomize(transformers.GPT2LMHeadModel(config)), gpt2_weights
    else:
        made, of = (
            (transformers.LlamaConfig, transformers.LlamaForCausalLM)
            if family == "llama"
            else (transformers.Qwen3Config, transformers.Qwen3ForCausalLM)
        )
        config = made(
            vocab_size=V,
            head_dim=4,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=20,
            tie_word_embeddings=False,
        )
        theirs, convert = randomize(of(config)), llama_weights
    tied = family == "gpt2"
    (shape,) = shapes(config.to_dict())
    for restarts in (True, False):
        ours = Decoder(V, shape, tied, restarts).eval()
        ours.load_state_dict(convert(theirs.state_dict()))
        x = tokens(3, 9, V)
        with torch.no_grad():
            close(ours(x)["token_logits"], theirs(x).logits)
            generated = theirs.generate(
                x, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0, suppress_tokens=[0, 2]
            )
            logits, state = ours.begin(x)
            for t in range(9, 17):
                token = logits.index_fill(1, torch.tensor([0, 2]), -torch.inf).argmax(1)
                assert token.tolist() == generated[:, t].tolist()
                logits, state = ours.step(token, state)


def test_order_of_tokens():
    config = transformers.GPT2Config(vocab_size=V, n_positions=20, n_embd=16, n_layer=1, n_head=2)
    theirs = randomize(transformers.GPT2LMHeadModel(config))
    order = [29, 29, 29, 29, *range(V)]  # four ids of ours before theirs
    ours = Decoder(V + 4, shapes(config.to_dict())[0]).eval()
    ours.load_state_dict(gpt2_weights(theirs.state_dict(), order))
    x = torch.tensor([[0, 5, 0, 7, 2]])  # their 0 is a token
    close(ours(x + 4)["token_logits"][..., 4:], theirs(x).logits)


def test_encoder_equals_bert():
    config = transformers.BertConfig(
        vocab_size=V, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, max_position_embeddings=20
    )
    theirs = randomize(transformers.BertModel(config))
    ours = randomize(EncoderClassifier(V, 3, shapes(config.to_dict())[0], "first"))
    missing, unknown = ours.load_state_dict(bert_weights(theirs.state_dict()), strict=False)
    assert missing == ["head.weight", "head.bias"] and not unknown
    x = padded(rows(7, 3, 9), left=False)
    with torch.no_grad():
        said = theirs(x, attention_mask=(x != 0).long())
        close(ours.encoder(x)[x != 0], said.last_hidden_state[x != 0])
        close(ours(x)["features"], said.pooler_output)


def test_translator_equals_marian():
    sizes = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 4}
    config = transformers.MarianConfig(
        vocab_size=V, d_model=16, encoder_ffn_dim=24, decoder_ffn_dim=20, max_position_embeddings=20, scale_embedding=True,
        activation_function="swish", pad_token_id=0, eos_token_id=3, decoder_start_token_id=2, attn_implementation="eager", **sizes,
    )  # fmt: skip
    theirs = transformers.MarianMTModel(config)
    waves = {name: value.clone() for name, value in theirs.state_dict().items() if "embed_positions" in name}
    randomize(theirs)
    theirs.load_state_dict(waves, strict=False)
    theirs.final_logits_bias.normal_()
    ours = TransformerTranslator(V, *shapes(config.to_dict())).eval()
    ours.load_state_dict(marian_weights(theirs.state_dict()))
    source, target = padded(rows(7, 3, 9), False), tokens(3, 5, V)
    with torch.no_grad():
        expected = theirs(source, (source != 0).long(), target, output_attentions=True)
        actual = ours(source, target)
    close(actual["token_logits"], expected.logits)
    close(actual["attention"], expected.cross_attentions[0].mean(1))


def test_says_what_it_does_not_know():
    with pytest.raises(LaminaError, match="expected the model_type"):
        shapes({"model_type": "t5"})
    with pytest.raises(LaminaError, match=r"begin with h\.0"):
        gpt2_weights({"x": torch.zeros(1)})
