"""The artifact: a folder that people and other tools can read, and that opens without running anybody's code.

run.json             task, every hyperparameter, versions, seed, data fingerprint, status, metrics, a hash per tensor
model.safetensors    weights
processor/           what `prepare` learned: class names, column statistics, as plain files; what `stress` fitted
                     afterwards: calibration.json (the temperature), unknown.json and unknown.safetensors, conformal.json
metrics.jsonl        every number logged, in order
checkpoints/         resumable state
report/              the last verdict of each verb, and its pictures
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lamina.errors import LaminaError
from lamina.files import read_json, sync, write_bytes, write_json
from lamina.find import find_task, task_names
from lamina.task import Forward, Task, Writes
from lamina.terminal import jsonable
from lamina.verdict import Verdict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lamina.data.source import Data, Source
    from lamina.decode.known import Known

FORMAT = 1
"""The version of the layout above. A reader refuses a newer one and keeps reading every older one."""


class Run:
    """One trained model and everything that is known about it."""

    def __init__(self, folder: Path, info: dict[str, Any], task: Task) -> None:
        self.folder = folder
        self.info = info
        self.task = task
        self.drawings = folder / "report"
        """Where the pictures of verdicts go."""

    @staticmethod
    def load(path: str | Path, task_file: str | Path | None = None) -> Run:
        """Open the run in the folder `path`. An application of one's own is named again by `task_file`.

        Raises LaminaError where the folder holds no run, or one written by a newer Lamina.
        """
        folder = Path(path)
        if not (folder / "run.json").is_file():
            raise LaminaError(f"{folder}: expected a run's folder, holding run.json; {_what_is(folder)}")
        try:
            info = read_json(folder / "run.json")
            written, name = info["format"], info["task"]
        except (ValueError, KeyError, TypeError) as error:
            raise LaminaError(f"{folder / 'run.json'}: expected the JSON that Lamina writes; {error}") from error
        if not isinstance(written, int) or written > FORMAT:
            raise LaminaError(f"{folder}: expected a run of format {FORMAT} or older; got {written!r}: it needs a newer Lamina")
        if info.get("task_file") and task_file is None:
            raise LaminaError(
                f"{folder}: its application is a file of one's own, which opening a run never imports; "
                f"name it with --task {info['task_file']} (in Python: task_file=)"
            )
        if task_file is None and name not in task_names():
            raise LaminaError(f"{folder}: its application {name!r} does not come with Lamina; name its file with --task FILE")
        kind = find_task(task_file or name)
        if kind.name != name:
            raise LaminaError(f"{task_file}: expected the application {name!r} that made {folder}; got {kind.name!r}")
        known = {f.name for f in dataclasses.fields(kind)}
        try:
            fields = {key: _frozen(value) for key, value in info["hyperparameters"].items() if key in known}
            task = kind(**fields).load_processor(folder / "processor")
        except LaminaError:
            raise
        except Exception as error:  # loading is a task's own: it may fail in any way where a file is damaged
            told = f"{type(error).__name__}: {error}"
            raise LaminaError(f"{folder}: expected the files that training wrote in processor/ and run.json; {told}") from error
        return Run(folder, info, task)

    @staticmethod
    def create(folder: Path, info: dict[str, Any], task: Task) -> Run:
        """A new run: what is known before the first step, on disk."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "processor").mkdir(exist_ok=True)
        task.save_processor(folder / "processor")
        run = Run(folder, {"format": FORMAT, **info, "versions": versions()}, task)
        run.update()
        return run

    def update(self, **values: Any) -> None:
        """Change run.json, whole or not at all."""
        self.info.update(values)
        write_json(self.folder / "run.json", self.info)

    def save_weights(self, model: nn.Module) -> None:
        """Write model.safetensors, and its hashes into run.json. What was fitted to other weights goes first."""
        from safetensors.torch import save_file

        self.forget()
        tensors = named_tensors(model)
        partial = self.folder / ".model.safetensors.tmp"
        save_file(tensors, partial, metadata={"lamina": self.info["versions"]["lamina"], "task": self.info["task"]})
        partial.chmod(0o644)  # safetensors makes files that only their owner can read
        sync(partial)
        partial.replace(self.folder / "model.safetensors")
        sync(self.folder)
        self.update(weights={name: tensor_hash(tensor) for name, tensor in tensors.items()})

    def network(self) -> nn.Module:
        """The model before its weights load: as the task builds it, with the surgeries that run.json lists."""
        from lamina.surgery import apply

        return apply(self.task.model(), self.info.get("surgeries", []))

    def model(self) -> nn.Module:
        """The model with its weights, evaluating, on the CPU.

        Raises LaminaError where training has not finished, or a weight is not what run.json says.
        """
        from safetensors.torch import load_file

        if self.served:
            raise LaminaError(
                f"{self.folder}: it answers by {self.served.name}, a graph without a network to open; its parent has one: "
                f"{self.info.get('parent', {}).get('run')}"
            )
        path = self.folder / "model.safetensors"
        if not path.is_file():
            raise LaminaError(
                f"{self.folder}: its training has not finished ({self.info.get('status')}); go on with --resume {self.folder}"
                if self.info.get("status") != "finished"
                else f"{path}: expected the weights of the run; there is no such file"
            )
        try:
            tensors = load_file(path)
        except Exception as error:  # safetensors raises its own kinds
            raise LaminaError(f"{path}: expected a whole safetensors file; {error}") from error
        for name, expected in self.info.get("weights", {"weights": None}).items():
            if name not in tensors or tensor_hash(tensors[name]) != expected:
                raise LaminaError(
                    f"{path}: the weight {name!r} is not the one that run.json describes; the file was changed or damaged"
                )
        model = self.network()
        load_tensors(model, tensors)
        return model.eval()

    @property
    def served(self) -> Path | None:
        """The ONNX file that answers in place of a network. None for most runs."""
        told = self.info.get("forward")
        if told is None:
            return None
        if not isinstance(told, dict) or told.get("kind") != "onnx" or Path(str(told.get("file"))).name != told.get("file"):
            raise LaminaError(f"{self.folder / 'run.json'}: expected forward to be {{kind: onnx, file: a name}}; got {told}")
        return self.folder / told["file"]

    def forward(self, device: str = "auto", precision: str | None = None, calibrated: bool = True) -> Forward:
        """The model as a function for answering: on `device`, without gradients, outputs in float32 on the CPU.

        `logits` are divided by the run's temperature, where it has one, unless `calibrated` is False.
        """
        from lamina.answer import tempered
        from lamina.train.precision import pick_device, pick_precision

        if self.served:
            from lamina.export.session import onnx_forward

            expected = self.info.get("weights", {}).get(self.served.name)
            if self.served.is_file() and file_hash(self.served) != expected:
                raise LaminaError(f"{self.served}: it is not the file that run.json describes; it was changed or damaged")
            forward = onnx_forward(self.served, self.task)
            return tempered(forward, self.temperature()) if calibrated else forward
        where = pick_device(device)
        asked = precision or self.info.get("precision", "auto")
        forward = forward_of(self.model().to(where), pick_precision(asked, where)[0], where)
        return tempered(forward, self.temperature()) if calibrated else forward

    def temperature(self) -> float:
        """What `logits` are divided by before anybody sees them; 1 where none was fitted.

        Raises LaminaError where calibration.json is damaged.
        """
        path = self.folder / "processor" / "calibration.json"
        if not path.is_file():
            return 1.0
        try:
            temperature = float(read_json(path)["temperature"])
        except (ValueError, KeyError, TypeError) as error:
            raise LaminaError(f"{path}: expected a temperature; {error}; `lamina stress` fits it anew") from error
        if not 0 < temperature < float("inf"):
            raise LaminaError(f"{path}: expected a temperature above 0; got {temperature}; `lamina stress` fits it anew")
        return temperature

    def known(self) -> Known | None:
        """What tells unknown inputs, where `stress` has fitted it. Raises LaminaError where its files are damaged."""
        from lamina.decode.known import Known

        folder = self.folder / "processor"
        if not (folder / "unknown.json").is_file():
            return None
        try:
            from safetensors.numpy import load_file

            return Known.of(read_json(folder / "unknown.json"), load_file(folder / "unknown.safetensors"))
        except LaminaError:
            raise
        except Exception as error:  # safetensors raises its own kinds
            raise LaminaError(f"{folder / 'unknown.json'}: expected what `lamina stress` wrote; {error}") from error

    def promise(self) -> dict[str, Any]:
        """What conformal sets or intervals are made with: `kind`, `cut`, `coverage`. Raises LaminaError where there is none."""
        path = self.folder / "processor" / "conformal.json"
        if not path.is_file():
            raise LaminaError(
                f"{self.folder}: nothing was calibrated for sets or intervals; run `lamina stress {self.folder}` first"
            )
        try:
            promise = read_json(path)
            return {"kind": promise["kind"], "cut": float(promise["cut"]), "coverage": float(promise["coverage"])}
        except (ValueError, KeyError, TypeError) as error:
            raise LaminaError(f"{path}: expected what `lamina stress` wrote; {error}") from error

    def keep_temperature(self, temperature: float, **facts: Any) -> None:
        """Store a temperature, and in run.json the `facts` of how it was fitted. What was fitted under another one goes."""
        if temperature != self.temperature():
            self.forget()
        write_json(self.folder / "processor" / "calibration.json", {"temperature": temperature})
        self.update(calibration={"temperature": temperature, **facts})

    def keep_known(self, known: Known, **facts: Any) -> None:
        """Store what tells unknown inputs: the arrays first, so that an unknown.json always finds them."""
        from safetensors.numpy import save

        folder = self.folder / "processor"
        (folder / "unknown.json").unlink(missing_ok=True)  # never the cut of one with the arrays of another
        write_bytes(folder / "unknown.safetensors", save(dict(known.arrays)))
        write_json(folder / "unknown.json", known.as_json())
        self.update(unknown={"method": known.method, "cut": known.cut, **facts})

    def keep_promise(self, promise: dict[str, Any]) -> None:
        """Store the cut of conformal sets or intervals."""
        write_json(self.folder / "processor" / "conformal.json", promise)
        self.update(conformal=promise)

    def forget(self) -> None:
        """Remove what was fitted to the answers of the weights: temperature, unknown inputs, conformal cut."""
        for name in ("unknown.json", "unknown.safetensors", "conformal.json", "calibration.json"):
            (self.folder / "processor" / name).unlink(missing_ok=True)
        fitted = [name for name in ("calibration", "unknown", "conformal") if name in self.info]
        for name in fitted:
            del self.info[name]
        if fitted:
            self.update()

    def source(self) -> Source:
        """Where the data came from."""
        from lamina.data.source import Source, Stored

        told = dict(self.info["source"])
        return Source(**{**told, "data": Stored(told["data"]) if isinstance(told.get("data"), str) else told.get("data")})

    def data(self) -> Data:
        """The data that this run was trained on, read again and split the same way.

        Raises LaminaError where it has changed since: another split would test on what was trained on.
        """
        if self.info["source"].get("data") == "<memory>":
            raise LaminaError(f"{self.folder}: it was trained on arrays in memory, which a run does not keep; name the data")
        data = self.task.read(self.source())
        if data.fingerprint != self.info["data"]["fingerprint"]:
            raise LaminaError(f"{self.folder}: the data it was trained on have changed; name some to judge it on with --data")
        return data

    def keep(self, verdict: Verdict, settings: Any) -> None:
        """Write `verdict` beside the weights that it speaks of, with the settings that it was made with, and when."""
        folder = self.folder / "report"
        folder.mkdir(exist_ok=True)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"weights": self.fingerprint(), "settings": jsonable(settings), "when": when, "lamina": versions()["lamina"]}
        write_json(folder / f"{verdict.verb}.json", {**about, **verdict.as_json(beside=folder)})

    def kept(self, verb: str, settings: Any = None) -> Verdict | None:
        """The last verdict of `verb`; None where there is none, it speaks of other weights, or was made with other `settings`."""
        path = self.folder / "report" / f"{verb}.json"
        try:
            written = read_json(path)
            fits = written["weights"] == self.fingerprint() and (settings is None or jsonable(settings) == written["settings"])
            return Verdict.of_json(written, path.parent) if fits else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # absent or damaged: it can be made again

    def kept_about(self, verb: str) -> dict[str, Any]:
        """How the last verdict of `verb` was made: its `settings`, and `when` (ISO 8601); empty where that is not known."""
        try:
            written = read_json(self.folder / "report" / f"{verb}.json")
            return {name: written[name] for name in ("settings", "when") if written.get(name)}
        except (OSError, ValueError, AttributeError):
            return {}

    def pictures(self, verb: str) -> Path:
        """The folder for the pictures of `verb`, made where it is absent."""
        folder = self.drawings / verb
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def fingerprint(self) -> str:
        """BLAKE2 of the weights that run.json describes: what a verdict speaks of."""
        told = json.dumps(self.info.get("weights", {}), sort_keys=True)
        return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    def answering(self, **fields: Any) -> Run:
        """This run, answering otherwise: `fields` are those that its task marks by `answering`. The folder stays as it is.

        Raises LaminaError for a field that changes no answer, or that there is not.
        """
        import copy

        from lamina.flags import closest

        known = [f.name for f in dataclasses.fields(self.task) if f.metadata.get("answering")]
        for name in fields:
            if name not in known:
                raise LaminaError(f"{self.task.name}: there is no setting {name!r} of its answers{closest(name, known)}")
        other = copy.copy(self)
        other.task = dataclasses.replace(self.task, **fields)
        return other

    def predict(self, inputs: Any, **options: Any) -> list[dict[str, Any]]:
        """Answers to inputs: one, or a list, of files, arrays or rows. See `lamina.predict`."""
        from lamina.predict import predict

        many = inputs if isinstance(inputs, Sequence) and not isinstance(inputs, (str, bytes)) else [inputs]
        return list(predict(self, many, **options))

    def evaluate(self, data: Any = None, **options: Any) -> Any:
        """Metrics with confidence intervals. See `lamina.evaluate`."""
        from lamina import evaluate

        return evaluate(self, data, **options)

    def ask(self, verb: str, inputs: Sequence[Any] = (), data: Any = None, **settings: Any) -> Verdict:
        """What `lamina VERB RUN` answers: `run.ask("stress", quick=True)`, `run.ask("explain", ["rose.jpg"])`."""
        from lamina.ask import ask

        return ask(verb, self, data, inputs, **settings)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.info['task']}, {self.info.get('status')})"


def forward_of(model: nn.Module, precision: str, device: Any) -> Forward:
    """`model` as a Forward for answering: inputs moved to it, no gradients, float32 outputs on the CPU."""
    import torch

    from lamina.train.precision import autocast, float32, has_convolutions

    if device.type != "mps" and has_convolutions(model):
        model = cast("nn.Module", model.to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    def forward(*inputs: Tensor) -> Any:
        with torch.inference_mode(), autocast(precision, device):
            output = float32(model(*[x.to(device) for x in inputs]))
        return {name: value.cpu() for name, value in output.items()} if isinstance(output, dict) else output.cpu()

    return WritingForward(forward, model, precision, device) if isinstance(model, Writes) else forward


class WritingForward:
    """A Forward of a model that writes token by token. Logits are float32 on the CPU, the state stays where the model is."""

    def __init__(self, forward: Forward, model: Any, precision: str, device: Any) -> None:
        self.forward, self.model, self.precision, self.device = forward, model, precision, device
        self.writer: Any = None

    def __call__(self, *inputs: Tensor) -> Any:
        return self.forward(*inputs)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        import torch

        from lamina.train.precision import autocast, for_steps

        if self.writer is None:
            self.writer = for_steps(self.model, self.precision, self.device)
        with torch.inference_mode(), autocast(self.precision, self.device):
            logits_BV, state = self.writer.begin(*[x.to(self.device) for x in inputs])
        return logits_BV.float().cpu(), state

    def step(self, token_B: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        import torch

        from lamina.train.precision import autocast

        with torch.inference_mode(), autocast(self.precision, self.device):
            logits_BV, state = self.writer.step(token_B.to(self.device), state)
        return logits_BV.float().cpu(), state


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; a parameter that two modules share stands once, under its first name."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach().cpu().contiguous()
    return tensors


def load_tensors(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy `tensors` into `model`. Raises LaminaError naming what is missing, extra or of another shape."""
    own = named_tensors(model)
    wrong = sorted(own.keys() ^ tensors.keys()) or sorted(n for n in own if own[n].shape != tensors[n].shape)
    if wrong:
        raise LaminaError(f"weights: expected those of this model; {wrong[0]!r} is missing, extra or of another shape")
    model.load_state_dict(tensors, strict=False)  # shared parameters stand once: not strict, checked above


def tensor_hash(tensor: Tensor) -> str:
    """BLAKE2 of the bytes of a tensor."""
    import torch

    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.blake2b(raw.tobytes(), digest_size=16).hexdigest()


def file_hash(path: Path) -> str:
    """BLAKE2 of a file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def versions() -> dict[str, str]:
    """What made a run: Lamina, Python, and the libraries that its numbers depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("lamina", "torch", "numpy", "pillow", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


@contextlib.contextmanager
def claimed(task: str) -> Iterator[Path]:
    """runs/TASK-01, or the next number that is free, made at once: two trainings that start together never share one.

    Removed afterwards where nothing was written into it.
    """
    for number in range(1, 10**6):
        folder = Path("runs") / f"{task}-{number:02d}"
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
    else:
        raise LaminaError(f"runs: expected a free number for a run of {task}; all are taken")
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()


def _frozen(value: Any) -> Any:
    """JSON lists back to the tuples that frozen dataclasses hold."""
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def _what_is(path: Path) -> str:
    if not path.exists():
        return "there is no such folder"
    return "it holds none" if path.is_dir() else "it is a file"
