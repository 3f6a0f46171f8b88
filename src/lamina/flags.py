"""Flags from dataclasses: each field is a flag, its `Doc` the help. tyro converts the values and writes the help;
what stands here is what tyro lacks: one-line messages, configuration files, and knowing which flags were given."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError


@dataclass(frozen=True)
class Flag:
    """One flag: a field of a dataclass. `hint` stands in the help in place of the default.

    `shown` is how it is spelled, and the field's own name where that is empty. A task's field `model_name` is `--model`, since
    the shorter name is that of a method. Both spellings are understood, here and by `lamina.train`.
    """

    name: str
    type: Any
    about: str
    group: str
    default: Any = None
    hint: str | None = None
    shown: str = ""

    @property
    def word(self) -> str:
        return self.shown or self.name

    @property
    def dashed(self) -> str:
        return "--" + self.word.replace("_", "-")

    @property
    def switch(self) -> bool:
        return self.type is bool

    @property
    def many(self) -> bool:
        return any(typing.get_origin(t) in (tuple, list) for t in members(self.type))


@dataclass(frozen=True)
class Word:
    """A positional argument. `many` takes all that are left."""

    name: str
    about: str
    required: bool = True
    many: bool = False


@dataclass(frozen=True)
class Verb:
    """What `lamina NAME` takes, for parsing and for help."""

    name: str
    about: str
    words: tuple[Word, ...] = ()
    flags: tuple[Flag, ...] = ()
    examples: tuple[str, ...] = ()
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """A line of help for a group of flags."""


@dataclass(frozen=True)
class Given:
    """What a person gave: positional words, and the values of those flags alone that were given."""

    verb: Verb
    words: tuple[str, ...]
    values: Mapping[str, Any]

    def of(self, flags: Iterable[Flag]) -> dict[str, Any]:
        """The given values of `flags`."""
        return {f.name: self.values[f.name] for f in flags if f.name in self.values}

    def get(self, name: str) -> Any:
        """The value of the flag `name`, or its default."""
        return self.values.get(name, next(f.default for f in self.verb.flags if f.name == name))


class HelpAsked(Exception):
    """`--help` stands among the arguments."""


def members(kind: Any) -> tuple[Any, ...]:
    """The members of a union; a type alone is its own only member."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def flags_of(
    cls: type, group: str, hint: str | None = None, leave_out: Sequence[str] = (), marked: str | None = None
) -> tuple[Flag, ...]:
    """The fields of the dataclass `cls` as flags, but for those marked as learned; with `marked`, those so marked alone."""
    from lamina.task import Task

    made = []
    for field in dataclasses.fields(cls):
        if field.name in leave_out or field.metadata.get("learned") or (marked and not field.metadata.get(marked)):
            continue
        kind, about = annotation(cls, field.name, field.type)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = None if default is dataclasses.MISSING else default
        shown = field.name.removesuffix("_name") if issubclass(cls, Task) else ""
        made.append(Flag(field.name, str | None if kind is Any else kind, about, group, default, hint, shown))
    return tuple(made)


def annotation(cls: type, name: str, written: Any) -> tuple[Any, str]:
    """The type of a field and its Doc. Field by field, since others may name types that are not imported."""
    if isinstance(written, str):
        owner = next(c for c in cls.__mro__ if name in vars(c).get("__annotations__", {}))
        written = eval(written, dict(vars(sys.modules[owner.__module__])))
    if typing.get_origin(written) is not Annotated:
        return written, ""
    kind, *notes = typing.get_args(written)
    return kind, next((note.documentation for note in notes if isinstance(note, Doc)), "")


def parse(verb: Verb, arguments: Sequence[str]) -> Given:
    """What `arguments` say. Raises LaminaError with one line for what is unknown or does not fit; HelpAsked for `--help`."""
    words, texts = split(verb, arguments)
    config = texts.get("config")
    if config:
        from_file, named = read_config(verb, config[0])
        words = words or named
        texts = {**from_file, **texts}
    return Given(verb, tuple(words), convert(verb, texts))


def require_words(given: Given) -> Given:
    """Raise LaminaError where a positional argument is missing or one too many."""
    wanted = given.verb.words
    needed = [word for word in wanted if word.required]
    if len(given.words) < len(needed):
        missing = needed[len(given.words)]
        raise LaminaError(f"lamina {given.verb.name}: expected {missing.name}: {missing.about}")
    if len(given.words) > len(wanted) and not (wanted and wanted[-1].many):
        extra = given.words[len(wanted)]
        raise LaminaError(f"lamina {given.verb.name}: got one word too many: {extra!r}")
    return given


def split(verb: Verb, arguments: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Positional words, and the texts given to each flag; a switch has the text `true` or `false`."""
    known = spellings(verb.flags)
    words: list[str] = []
    texts: dict[str, list[str]] = {}
    left = list(arguments)
    while left:
        token = left.pop(0)
        if token in ("-h", "--help"):
            raise HelpAsked
        if token == "--":
            words += left
            break
        if not looks_like_flag(token):
            words.append(token)
            continue
        written, equals, text = token.partition("=")
        name = written.lstrip("-").replace("-", "_")
        off = name.removeprefix("no_")
        if name not in known and off in known and known[off].switch and not equals:
            texts[known[off].name] = ["false"]
            continue
        flag = known.get(name) if written.startswith("--") else None
        if flag is None:
            raise LaminaError(
                f"lamina {verb.name}: there is no flag {written}" + closest(written, [f.dashed for f in verb.flags])
            )
        name = flag.name
        if flag.switch and not equals:
            texts[name] = [left.pop(0)] if left and left[0].lower() in ("true", "false") else ["true"]
        elif equals:
            texts[name] = text.split(",") if flag.many else [text]
        elif flag.many:
            texts[name] = []
            while left and not looks_like_flag(left[0]):
                texts[name] += [part for part in left.pop(0).split(",") if part]
        else:
            if not left or left[0].startswith("--"):
                raise LaminaError(f"{flag.dashed}: expected {expected(flag.type)}; got nothing")
            texts[name] = [left.pop(0)]
    return words, texts


def spellings(flags: Iterable[Flag]) -> dict[str, Flag]:
    """Flags by every name that they answer to, with underscores."""
    listed = list(flags)
    return {**{flag.name: flag for flag in listed}, **{flag.word: flag for flag in listed}}


def looks_like_flag(token: str) -> bool:
    """`-` is standard input and `-3` is a number; other words that begin with a dash are flags."""
    return len(token) > 1 and token[0] == "-" and not token[1:].replace(".", "", 1).replace("e-", "").isdigit()


def closest(written: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where no known word is near."""
    near = difflib.get_close_matches(written, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def read_config(verb: Verb, path: str, partly: bool = False) -> tuple[dict[str, list[str]], list[str]]:
    """The texts of each flag in a YAML or JSON file; and the words it names: `task`, `run` and so on, as the verb calls them.

    Raises LaminaError for a key that is unknown, unless it is read `partly`.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))  # JSON is YAML
    except OSError as error:
        raise LaminaError(f"--config {path}: expected a YAML or JSON file; {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LaminaError(f"--config {path}: expected YAML or JSON; {' '.join(str(error).split())}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise LaminaError(f"--config {path}: expected keys and values; got a {type(content).__name__}")
    known = spellings(flag for flag in verb.flags if flag.name not in ("config", "print_config"))
    positions = [word.name.lower() for word in verb.words]
    texts: dict[str, list[str]] = {}
    words: list[str] = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name in positions and name not in known:
            words += [str(v) for v in value] if isinstance(value, list) else [str(value)]
        elif name not in known and partly:
            continue
        elif name not in known:
            raise LaminaError(f"--config {path}: there is no key {key!r}" + closest(name, [*known, *positions]))
        elif isinstance(value, list) and known[name].many:
            texts[known[name].name] = [str(v) for v in value]
        elif isinstance(value, (list, dict)):
            raise LaminaError(f"--config {path}: {key}: expected {expected(known[name].type)}; got {value!r}")
        else:
            texts[known[name].name] = [str(value)]
    return texts, words


def convert(verb: Verb, texts: Mapping[str, list[str]]) -> dict[str, Any]:
    """The values of the flags that were given, converted by tyro."""
    flags = [flag for flag in verb.flags if flag.name in texts]
    if not flags:
        return {}
    made = tyro_values(flags, texts)
    if made is not None:
        return made
    for flag in flags:
        if tyro_values([flag], texts) is None:
            got = " ".join(texts[flag.name])
            choices = [str(v) for m in members(flag.type) if typing.get_origin(m) is Literal for v in typing.get_args(m)]
            raise LaminaError(f"{flag.dashed}: expected {expected(flag.type)}; got {got!r}{closest(got, choices)}")
    raise LaminaError(f"lamina {verb.name}: these flags do not go together: {' '.join(f.dashed for f in flags)}")


def tyro_values(flags: Sequence[Flag], texts: Mapping[str, list[str]]) -> dict[str, Any] | None:
    """The converted values, or None where tyro refuses one."""
    import tyro

    arguments: list[str] = []
    for flag in flags:
        values = [
            "None" if text.lower() in ("none", "null") and type(None) in members(flag.type) else text for text in texts[flag.name]
        ]
        if flag.switch:
            if values[0].lower() not in ("true", "false"):
                return None
            arguments.append(flag.dashed if values[0].lower() == "true" else "--no-" + flag.dashed[2:])
        elif flag.many:
            arguments += [flag.dashed, *values]
        else:
            arguments.append(f"{flag.dashed}={values[0]}")
    shape = dataclasses.make_dataclass(
        "Flags", [(f.word, f.type, dataclasses.field(default_factory=lambda v=f.default: v)) for f in flags]
    )
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):  # tyro tells some mistakes even so
            made = tyro.cli(shape, args=arguments, console_outputs=False)
    except SystemExit:
        return None
    return {flag.name: getattr(made, flag.word) for flag in flags}


def expected(kind: Any) -> str:
    """What a flag of this type takes, in words."""
    told = []
    for member in members(kind):
        if typing.get_origin(member) is Literal:
            values = [str(v) for v in typing.get_args(member)]
            told.append(values[0] if len(values) == 1 else "one of " + ", ".join(values))
        elif typing.get_origin(member) in (tuple, list):
            told.append("a list, each " + expected(typing.get_args(member)[0]))
        else:
            told.append(
                {int: "a whole number", float: "a number", bool: "true or false", type(None): "none"}.get(member, "a text")
            )
    return " or ".join(told)


def metavar(kind: Any, with_none: bool) -> str:
    """What stands after a flag in the help: NUMBER, a|b|c."""
    told = []
    for member in members(kind):
        if typing.get_origin(member) is Literal:
            told += [str(v) for v in typing.get_args(member)]
        elif typing.get_origin(member) in (tuple, list):
            told.append(metavar(typing.get_args(member)[0], False) + " ...")
        elif member is type(None):
            told += ["none"] if with_none else []
        else:
            told.append({int: "INT", float: "NUMBER", str: "TEXT"}.get(member, "TEXT"))
    return "|".join(told)


def print_help(verb: Verb) -> None:
    """The help of a verb on standard output: its words, its flags by group, and examples of use."""
    import tyro
    from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

    outer: list[tuple[str, Any, Any]] = []
    for word in verb.words:
        kind = tuple[str, ...] if word.many else str
        note = arg(metavar=word.name + (" ..." if word.many else ""), help=word.about, help_behavior_hint="")
        outer.append(
            (word.name.lower() + "_", Annotated[Positional[kind], note], dataclasses.field(default=() if word.many else ""))
        )
    for group in dict.fromkeys(flag.group for flag in verb.flags):
        inner = []
        for flag in (f for f in verb.flags if f.group == group):
            hint = flag.hint if flag.hint is not None else hint_of(flag)
            note = arg(
                help=flag.about, help_behavior_hint=hint, metavar=None if flag.switch else metavar(flag.type, bool(flag.hint))
            )
            pairs = () if flag.default else (FlagCreatePairsOff,)  # `--no-` is shown only where the switch is on by default
            inner.append(
                (flag.word, Annotated[(flag.type, note, *pairs)], dataclasses.field(default_factory=lambda v=flag.default: v))
            )
        made = dataclasses.make_dataclass(group, inner)
        made.__doc__ = verb.notes.get(group, "")
        outer.append((group, made, dataclasses.field(default_factory=made)))
    shape = dataclasses.make_dataclass("Flags", outer)
    about = "\n".join([verb.about, *([""] if verb.examples else []), *(f"  {line}" for line in verb.examples)])
    try:
        tyro.cli(shape, args=["--help"], prog=f"lamina {verb.name}", description=about, config=(OmitArgPrefixes,))
    except SystemExit:
        sys.stdout.flush()


def hint_of(flag: Flag) -> str:
    """`(default: 64)`, or nothing where the Doc says it or there is no default."""
    if flag.default is None or flag.switch or "default" in flag.about:
        return ""
    shown = " ".join(str(v) for v in flag.default) if flag.many else flag.default
    return f"(default: {shown})"


def print_config(given: Given) -> None:
    """The YAML that does the same again with `--config`, on standard output: values given, and defaults that are values.

    A flag whose value is decided by the data (a recipe) is left out unless it was given: the same data decides the same.
    """
    import yaml

    from lamina.terminal import jsonable

    values: dict[str, Any] = {}
    for word, said in zip(
        given.verb.words, (given.words[:1], given.words[1:]) if len(given.verb.words) > 1 else (given.words,), strict=False
    ):
        if said:
            values[word.name.lower()] = list(said) if word.many else said[0]
    for flag in given.verb.flags:
        if flag.name in ("config", "print_config"):
            continue
        value = given.get(flag.name) if flag.hint is None else given.values.get(flag.name)
        if flag.name in given.values or (value is not None and not (flag.switch and value == flag.default)):
            values[flag.word] = value
    print(yaml.safe_dump(jsonable(values), sort_keys=False, allow_unicode=True), end="")


def task_among(arguments: Sequence[str], verb: Verb) -> str | None:
    """The task that `lamina train` is asked for, found before its flags are known. Raises LaminaError where there is none."""
    from lamina.find import task_names

    found = word_among(arguments, verb)
    if found is not None and not found.endswith(".py") and found not in task_names():
        names = ", ".join(task_names())
        raise LaminaError(
            f"lamina train: there is no task {found!r}{closest(found, task_names())}; expected {names}, or a .py file"
        )
    return found


def word_among(arguments: Sequence[str], verb: Verb) -> str | None:
    """The first positional word, or that of a configuration file, where flags may stand that `verb` does not have yet."""
    known = spellings(verb.flags)
    left = list(arguments)
    found = config = None
    while left and found is None:
        token = left.pop(0)
        if not looks_like_flag(token):
            found = token
            continue
        written, equals, text = token.partition("=")
        name = written.lstrip("-").replace("-", "_")
        switch = (name in known and known[name].switch) or name in ("h", "help") or name.startswith("no_")
        if not switch:  # a flag of the task, or a misspelled one, is taken to have a value
            value = text if equals else left.pop(0) if left else None
            config = value if name == "config" else config
    if found is None and config is not None:
        found = next(iter(read_config(dataclasses.replace(verb, flags=()), config, partly=True)[1]), None)
    return found


def named(message: str, arguments: Sequence[str]) -> str:
    """A message that begins with a field's name, or with the value of a flag, begins with the flag instead."""
    given = [token.partition("=") for token in arguments if looks_like_flag(token)]
    head, colon, rest = message.partition(":")
    if colon and any(written.lstrip("-").replace("-", "_") == head.replace("-", "_") for written, _, _ in given):
        return f"--{head.replace('_', '-')}:{rest}"
    for place, token in enumerate(arguments):
        written, equals, text = token.partition("=")
        value = text if equals else arguments[place + 1] if place + 1 < len(arguments) else ""
        if looks_like_flag(token) and len(value) > 1 and message.startswith((value, value.rstrip("/"))):
            return f"{written} {message}"
    return message
