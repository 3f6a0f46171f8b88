"""The demo of translation: whole numbers in English and in German words.

A real translation with a grammar of its own (seven and twenty, in one word), made here because no parallel text ships with
Python or a dependency. It is learned in seconds.
"""

from __future__ import annotations

import numpy as np


def number_names(count: int = 2000) -> tuple[list[str], list[str]]:
    """`count` whole numbers, each once, in a fixed order: half of them below a thousand, half below a hundred thousand."""
    numbers = np.random.default_rng(0).permutation(1_000)[: count // 2].tolist()
    larger = (1_000 + np.random.default_rng(1).permutation(99_000))[: count - len(numbers)].tolist()
    chosen = [number for pair in zip(numbers, larger, strict=True) for number in pair]
    return [english_number(n) for n in chosen], [german_number(n) for n in chosen]


ENGLISH = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
ENGLISH_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
GERMAN = (
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf", "dreizehn",
    "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
)  # fmt: skip
GERMAN_TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")


def english_number(n: int) -> str:
    """A whole number below a million: `two hundred and five`."""
    if n >= 1000:
        rest = n % 1000
        return f"{english_number(n // 1000)} thousand" + (
            f"{' and' if rest < 100 else ''} {english_number(rest)}" if rest else ""
        )
    if n >= 100:
        return f"{ENGLISH[n // 100]} hundred" + (f" and {english_number(n % 100)}" if n % 100 else "")
    return ENGLISH[n] if n < 20 else ENGLISH_TENS[n // 10 - 2] + (f"-{ENGLISH[n % 10]}" if n % 10 else "")


def german_number(n: int) -> str:
    """The same in German: `zweihundertfünf`. One is `ein` wherever something follows."""
    if n >= 1000:
        rest = german_number(n % 1000) if n % 1000 else ""
        return _before(german_number(n // 1000)) + "tausend" + rest
    if n >= 100:
        rest = german_number(n % 100) if n % 100 else ""
        return _before(GERMAN[n // 100]) + "hundert" + rest
    if n < 20:
        return GERMAN[n]
    return (f"{_before(GERMAN[n % 10])}und" if n % 10 else "") + GERMAN_TENS[n // 10 - 2]


def _before(word: str) -> str:
    return word[:-1] if word.endswith("eins") else word
