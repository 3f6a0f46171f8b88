"""Answers from the exported model in this folder: needs numpy, Pillow and onnxruntime, and neither Lamina nor torch.

    python run.py FILE ... --json

prints what `lamina predict RUN FILE ... --json` prints: one JSON object an input, on one line. An input is a file, a folder
or `-` for standard input. One that cannot be read is told on standard error, the others are answered; exit status 2 then.
In Python: `from run import Model; list(Model().answers(["a.png"]))`. The folder `lamina` beside this file holds those parts of
Lamina that read inputs and make answers, unchanged; `export.json` holds their settings.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
try:
    from lamina.errors import LaminaError
    from lamina.terminal import print_json, say_error
except ImportError as missing:
    print(f"error: {HERE / 'lamina'}: expected the folder that was exported beside run.py; {missing}", file=sys.stderr)
    raise SystemExit(2) from None


class Model:
    """The model of an exported folder. Raises LaminaError where a file is missing or is not the one that was exported."""

    def __init__(self, folder: Path = HERE, threads: int | None = None) -> None:
        about = read_json(folder / "export.json")
        try:
            for name, digest in about["files"].items():
                verify(folder / name, digest)
            self.session = session_of(folder / about["model"], threads)
            steps = [folder / f"model.{name}.onnx" for name in ("begin", "step")]
            self.steps = [session_of(path, threads) for path in steps] if all(path.is_file() for path in steps) else None
            self.reader, self.decoder = (made(about["serving"][part]) for part in ("reader", "decoder"))
        except (KeyError, TypeError, AttributeError) as error:
            raise LaminaError(f"{folder / 'export.json'}: expected what lamina export wrote; {error!r}") from None
        self.known = known_of(folder / "processor")
        self.outputs = [node.name for node in self.session.get_outputs()]
        self.said: dict[str, Any] = {}

    def ask(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """The outputs of the graph by name, of inputs by name."""
        self.said = dict(zip(self.outputs, self.session.run(self.outputs, arrays), strict=True))
        return self.said

    def answers(self, sources: Sequence[Any], batch_size: int = 256) -> Iterator[dict[str, Any]]:
        """One answer an input, in order: {"source", ...}, or {"source", "error"} where it cannot be read."""
        for columns in gathered(self.reader.gather, sources):
            if "error" in columns:
                yield columns
                continue
            count = len(columns["source"])
            for start in range(0, count, batch_size):
                rows = range(start, min(start + batch_size, count))
                yield from self.answered({name: [column[i] for i in rows] for name, column in columns.items()})

    def answered(self, columns: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
        """The answers to one batch, the rows that cannot be read told apart."""
        names = columns["source"]
        errors = {row: why for row, why in enumerate(columns.get("unread", ())) if why is not None}
        readable = [row for row in range(len(names)) if row not in errors]
        arrays = None
        try:
            arrays = self.encoded(columns, readable)
        except LaminaError:
            good = []
            for row in readable:
                try:
                    self.encoded(columns, [row])
                    good.append(row)
                except LaminaError as error:
                    errors[row] = str(error).removeprefix("row 1, ")  # it was alone, and is named by its source
            if good == readable:  # the fault is of the batch, not of a row
                raise
            arrays = self.encoded(columns, good)
        made = iter(self.told(arrays) if arrays is not None else ())
        for row, name in enumerate(names):
            yield {"source": str(name), **({"error": errors[row]} if row in errors else next(made))}

    def encoded(self, columns: dict[str, list[Any]], rows: list[int]) -> dict[str, Any] | None:
        return self.reader.encode({name: [columns[name][i] for i in rows] for name in self.reader.asks}) if rows else None

    def told(self, arrays: dict[str, Any]) -> list[dict[str, Any]]:
        """What the decoder says, and where the run can tell, whether the input is unknown."""
        answers = self.decoder.answers(Steps(self) if self.steps else self.ask, arrays)
        if self.known is None or any(len(self.said.get(key, ())) != len(answers) for key in self.known.needs):
            return answers
        more = self.known.answers(self.said.get("logits"), self.said.get("features"))
        return [{**answer, **extra} for answer, extra in zip(answers, more, strict=True)]


class Steps:
    """A model that writes token by token: its state is arrays by name, as `lamina/decode/steps.py` asks for."""

    def __init__(self, model: Model) -> None:
        assert model.steps is not None
        self.model = model
        self.sessions = dict(zip(("begin", "step"), model.steps, strict=True))

    def __call__(self, arrays: dict[str, Any]) -> dict[str, Any]:
        return self.model.ask(arrays)

    def begin(self, arrays: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.run("begin", arrays)

    def step(self, token_B: Any, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.run("step", {"token": token_B, **state})

    def rows(self, state: dict[str, Any], index_N: Any) -> dict[str, Any]:
        return {name: value[index_N] for name, value in state.items()}

    def run(self, name: Literal["begin", "step"], feed: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        session = self.sessions[name]
        taken = {node.name for node in session.get_inputs()}
        keys = [node.name for node in session.get_outputs()]
        logits_BV, *state = session.run(keys, {key: value for key, value in feed.items() if key in taken})
        return logits_BV, dict(zip((key.replace("next.", "state.", 1) for key in keys[1:]), state, strict=True))


def gathered(gather: Callable[[Sequence[Any]], Any], sources: Sequence[Any]) -> Iterator[Any]:
    """Inputs as columns; where they cannot be gathered together, each alone. Standard input stands alone: it is read once."""
    groups: list[list[Any]] = []
    for source in sources:
        if source == "-" or not groups or groups[-1] == ["-"]:
            groups.append([source])
        else:
            groups[-1].append(source)
    for group in groups:
        try:
            yield gather(group)
        except LaminaError as error:
            if len(group) == 1:
                yield {"source": str(group[0]), "error": str(error)}
            else:
                for source in group:
                    yield from gathered(gather, [source])


def made(part: dict[str, Any]) -> Any:
    """A reader or a decoder: the class that `part` names, with its fields."""
    kind = getattr(importlib.import_module(part["module"]), part["class"])
    return kind(**{name: frozen(value) for name, value in part["fields"].items()})


def frozen(value: Any) -> Any:
    """JSON lists back to the tuples that frozen dataclasses hold."""
    return tuple(frozen(v) for v in value) if isinstance(value, list) else value


def session_of(path: Path, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a kind of its own for every status
        raise LaminaError(f"{path}: expected an ONNX graph; {' '.join(str(error).split())[:300]}") from None


def known_of(processor: Path) -> Any:
    """What tells unknown inputs, where the run was fitted to."""
    if not (processor / "unknown.json").is_file():
        return None
    arrays = processor / "unknown.safetensors"
    known = importlib.import_module("lamina.decode.known").Known
    return known.of(read_json(processor / "unknown.json"), read_safetensors(arrays) if arrays.is_file() else {})


def read_safetensors(path: Path) -> dict[str, Any]:
    """Arrays by name: eight bytes that count the header's, a JSON header, then the values, little-endian."""
    import numpy as np

    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
    data = path.read_bytes()
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        arrays = {}
        for name, about in header.items():
            first, last = about["data_offsets"]
            arrays[name] = np.frombuffer(data[start + first : start + last], kinds[about["dtype"]]).reshape(about["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise LaminaError(f"{path}: expected a safetensors file; {error}") from None
    return arrays


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LaminaError(f"{path}: expected the JSON that lamina export wrote; {error}") from None


def verify(path: Path, digest: str) -> None:
    if not path.is_file():
        raise LaminaError(f"{path}: expected a file of the exported model; it is missing")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise LaminaError(f"{path}: expected the file that was exported; it was changed or damaged")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="run.py", description="Answers from the exported model in this folder.")
    parser.add_argument("inputs", nargs="*", metavar="FILE", help="files, folders, or - for standard input")
    parser.add_argument("--json", action="store_true", help="one JSON object an input; the last line is {error} where one failed")
    parser.add_argument("--batch-size", type=int, default=256, help="inputs that are answered at once (default: 256)")
    parser.add_argument("--threads", type=int, help="threads of one operation (default: ONNX Runtime's choice)")
    given = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name need not be text
            stream.reconfigure(errors="backslashreplace")
    try:
        answer(given)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except LaminaError as error:
        message = str(error)
    except ImportError as error:
        message = f"expected numpy, Pillow and onnxruntime; {error}: pip install numpy pillow onnxruntime"
    say_error(message)
    if given.json:
        print_json({"error": message})
    return 2


def answer(given: argparse.Namespace) -> None:
    """Print the answers as they come. Raises LaminaError at the end where an input could not be answered."""
    if not given.inputs:
        raise LaminaError("expected at least one input; got none")
    if given.batch_size < 1:
        raise LaminaError(f"--batch-size: expected 1 or more; got {given.batch_size}")
    bad: list[str] = []
    count = 0
    header: list[str] = []
    table = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    for row in Model(threads=given.threads).answers(given.inputs, given.batch_size):
        count += 1
        if count == 2 and bad:
            say_error(bad[0])  # a single one is told at the end
        if "error" in row:
            bad.append(row["error"] if row["source"] in row["error"] else f"{row['source']}: {row['error']}")
            if count > 1:
                say_error(bad[-1])
        elif given.json:
            print_json(row)
        else:
            brief = {name: value for name, value in row.items() if not isinstance(value, (dict, list, tuple))}
            if not header:
                header = list(brief)
                table.writerow(header)
            table.writerow([brief.get(name, "") for name in header])
    if bad:
        raise LaminaError(bad[0] if count == 1 else f"{len(bad)} of {count} inputs could not be answered")


if __name__ == "__main__":
    raise SystemExit(main())
