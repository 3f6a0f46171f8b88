"""Vocabularies learned from texts, as a tokenizer.json that `tokenizers` reads: what a token is, and which number it has.

Ids 0 to 3 are padding, unknown, the beginning and the end. Offsets stay those of the raw text: normalization is the tokenizer's.

    bpe          pairs of bytes that stand most often together       Gage 1994; Sennrich et al. 2016; Radford et al. 2019
    wordpiece    pieces of words, `##` before what goes on           Schuster and Nakajima 2012; Devlin et al. 2019
    unigram      the likeliest cut under a model of single pieces    Kudo 2018
    words        whole words and signs, the most frequent ones
    characters   every character
    bytes        every byte of UTF-8
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.errors import LaminaError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KINDS = ("bpe", "wordpiece", "unigram", "words", "characters", "bytes")
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
CONTROLS = r"[\p{Cc}\x{FEFF}&&[^\t\n\r]]"
"""Characters that say nothing: they become a space, so that what stood apart stays apart."""
WORDS = r"[\p{L}\p{M}\p{N}_]+(?:['’][\p{L}\p{M}]+)?|[^\s\p{L}\p{M}\p{N}_]"
ENDS = (("<s>", "[CLS]", "<bos>"), ("</s>", "[SEP]", "<eos>"))
"""What tokenizers call the beginning and the end of a text; the last of each where there is none."""
LEAST = 2
"""A word that training shows once is unknown: otherwise nothing would teach what an unknown word means."""


def learned(kind: str, texts: Sequence[str], size: int, lower: bool) -> str:
    """A tokenizer.json learned from `texts`: `size` tokens at most, the four special ones among them. The order of the texts
    does not matter. `lower`: capitals are small letters. Raises LaminaError for a kind that there is not."""
    from tokenizers.processors import TemplateProcessing

    if kind not in KINDS:
        raise LaminaError(f"--tokenizer: expected one of {', '.join(KINDS)}, or a tokenizer.json; got {kind!r}")
    tokenizer = _untrained(kind)
    tokenizer.normalizer = _normalizer(lower)
    if kind == "unigram" and not any(text.strip() for text in texts):
        texts = ["a"]  # its trainer needs something
    ordered = sorted(map(sound, texts))
    if kind == "wordpiece":
        tokenizer.model = _pieces_of_words(tokenizer, ordered, size)
        tokenizer.add_special_tokens(list(SPECIALS))
    else:
        tokenizer.train_from_iterator(ordered, _trainer(kind, size))
    if kind == "unigram":
        tokenizer.model = _settled(tokenizer)
    tokenizer.post_processor = TemplateProcessing(  # type: ignore[assignment]
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 3)]
    )
    return tokenizer.to_str()


def tokenizer_for(asked: str, texts: Sequence[str], size: int, lower: bool) -> str:
    """The tokenizer.json that `asked` names, or one learned from `texts`: of a kind, or of the kind that fits (`auto`)."""
    if not asked.endswith(".json"):
        return learned(fitting_kind(texts) if asked == "auto" else asked, texts, size, lower)
    path = Path(asked)
    if not path.is_file():
        raise LaminaError(f"--tokenizer: expected a tokenizer.json; there is no file {path}")
    return taken(path.read_text(encoding="utf-8"), asked)


def fitting_kind(texts: Sequence[str]) -> str:
    """words, unless a fifth of the letters are of scripts that write no spaces between them: bpe."""
    from lamina.modalities.words import unspaced

    some = "".join(text[:200] for text in texts[:: max(1, len(texts) // 1000)])
    letters = [c for c in some if c.isalpha()]
    return "bpe" if sum(map(unspaced, letters)) > 0.2 * max(1, len(letters)) else "words"


def _normalizer(lower: bool) -> Any:
    from tokenizers import Regex
    from tokenizers.normalizers import NFC, Lowercase, Replace
    from tokenizers.normalizers import Sequence as InTurn

    return InTurn([NFC(), Replace(Regex(CONTROLS), " "), *([Lowercase()] if lower else [])])


def _untrained(kind: str) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models
    from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel, Metaspace, Split

    model: Any = {"wordpiece": models.WordPiece, "unigram": models.Unigram, "bpe": models.BPE, "bytes": models.BPE}.get(kind)
    if kind in ("words", "characters"):
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    else:
        tokenizer = Tokenizer(model(unk_token="<unk>") if kind == "wordpiece" else model())
    cut: Any = {
        "bpe": lambda: ByteLevel(add_prefix_space=True),
        "bytes": lambda: ByteLevel(add_prefix_space=False, use_regex=False),
        "wordpiece": BertPreTokenizer,
        "unigram": Metaspace,
        "words": lambda: Split(Regex(WORDS), "removed", invert=True),
        "characters": lambda: Split(Regex("(?m)."), "isolated"),
    }
    tokenizer.pre_tokenizer = cut[kind]()
    return tokenizer


def _settled(tokenizer: Tokenizer) -> Any:
    """The pieces of a Unigram model in one order, with scores as far as its trainer repeats them: it adds up in any order."""
    from tokenizers import models

    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    special, pieces = vocabulary[: len(SPECIALS)], vocabulary[len(SPECIALS) :]
    rounded = sorted(((piece, round(score, 2)) for piece, score in pieces), key=lambda item: (-item[1], item[0]))
    return models.Unigram([*map(tuple, special), *rounded], unk_id=1, byte_fallback=False)


def _pieces_of_words(tokenizer: Tokenizer, texts: Sequence[str], size: int) -> Any:
    """A WordPiece model: the pieces that byte pairs' merging cuts words into, told apart by whether a word begins with them,
    and of these every character and the most frequent others. The library's own trainer gives another one every time."""
    from tokenizers import Tokenizer, models, trainers

    cutter = Tokenizer(models.BPE())
    cutter.normalizer, cutter.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer  # type: ignore[assignment]
    cutter.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, min_frequency=LEAST, show_progress=False))
    counts: Counter[str] = Counter()
    for start in range(0, len(texts), 1000):
        for encoding in cutter.encode_batch(texts[start : start + 1000], add_special_tokens=False):
            inside: int | None = None
            for token, word in zip(encoding.tokens, encoding.word_ids, strict=True):
                counts[f"##{token}" if word == inside else token] += 1
                inside = word
    characters = sorted({mark + c for token in counts for c in token.removeprefix("##") for mark in ("", "##")})
    others = sorted(set(counts) - set(characters), key=lambda token: (-counts[token], token))
    vocabulary = [*SPECIALS, *characters, *others][: max(size, len(SPECIALS) + len(characters))]
    return models.WordPiece({token: number for number, token in enumerate(vocabulary)}, unk_token="<unk>")


def _trainer(kind: str, size: int) -> Any:
    from tokenizers import trainers
    from tokenizers.pre_tokenizers import ByteLevel

    common: dict[str, Any] = {"vocab_size": size, "special_tokens": list(SPECIALS), "show_progress": False}
    if kind in ("bpe", "bytes"):
        common["vocab_size"] = 256 + len(SPECIALS) if kind == "bytes" else max(size, 256 + len(SPECIALS))
        return trainers.BpeTrainer(initial_alphabet=sorted(ByteLevel.alphabet()), min_frequency=LEAST, **common)
    if kind == "unigram":
        return trainers.UnigramTrainer(unk_token="<unk>", **common)
    return trainers.WordLevelTrainer(min_frequency=LEAST if kind == "words" else 1, **common)


def with_words(tokens: str, words: Sequence[str]) -> str:
    """The tokenizer.json with those of `words` that it reads as one word each; as it is where its tokens are no words."""
    from tokenizers import Tokenizer

    told = json.loads(tokens)
    if told["model"]["type"] != "WordLevel":
        return tokens
    tokenizer, vocabulary = Tokenizer.from_str(tokens), told["model"]["vocab"]
    assert tokenizer.pre_tokenizer is not None and tokenizer.normalizer is not None
    for word in words:
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(word)
        if word not in vocabulary and tokenizer.normalizer.normalize_str(word) == word and [p for p, _ in pieces] == [word]:
            vocabulary[word] = len(vocabulary)
    return json.dumps(told, ensure_ascii=False)


def taken(content: str, file: str) -> str:
    """A tokenizer.json of somebody else's, without the truncation and padding that it may bring.

    Raises LaminaError where it is none.
    """
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # the library raises plain Exception
        raise LaminaError(f"{file}: expected a tokenizer.json; {str(error).splitlines()[0]}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if not {"<pad>", "[PAD]"} & tokenizer.get_vocab().keys():
        tokenizer.add_special_tokens(["<pad>"])
    if len(tokenizer.encode("").ids) < 2:  # every text begins and ends, so that none is empty
        first, last = (next((t for t in names if tokenizer.token_to_id(t) is not None), names[-1]) for names in ENDS)
        tokenizer.add_special_tokens([first, last])
        numbers = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
        template = TemplateProcessing(single=f"{first} $A {last}", special_tokens=numbers)
        tokenizer.post_processor = template  # type: ignore[assignment]
    return tokenizer.to_str()


def sound(text: str) -> str:
    """The text with halves of characters, which no encoding can hold, replaced one by one: places stay what they are."""
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text) if _has_halves(text) else text


def _has_halves(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
