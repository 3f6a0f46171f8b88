"""Image classification: a picture in, one of K labels out.

Data: a folder per class, a table with paths and labels, idx files, a `datasets` set, or arrays. Without data: the 8x8
digits that scikit-learn ships. The defaults are chosen from what the pictures are (their size, their number, whether
mirroring leaves them what they are), never from which set it is.

Legend: B examples, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError
from lamina.task import Batch, Columns, Forward, Input, Mode, Output, Serving, Task, arrays_of, asking, learned

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from lamina.data.source import Data, Source
    from lamina.decode.classes import ClassAnswers, Classes
    from lamina.train.recipe import Recipe

Model = Literal[
    "auto", "mlp", "convnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "resnet20", "resnet32", "resnet44", "resnet56", "convnext-atto", "convnext-femto", "convnext-pico", "convnext-nano",
    "convnext-tiny", "convnext-small", "convnext-base", "vit-tiny", "vit-small", "vit-base",
]  # fmt: skip

SMALL = 64
"""Pictures up to this many pixels a side are small: stems that do not shrink them, and the fast network for them."""


@dataclass(frozen=True)
class ImageClassification(Task):
    """A picture in, one of K labels out, with its probability."""

    model_name: Annotated[Model, Doc("the network; auto: convnet for small pictures, resnet18 for larger ones")] = "auto"
    size: Annotated[
        int | None, Doc("height and width in pixels (default: their own where all are equal and small, else 128)")
    ] = None
    width: Annotated[float, Doc("multiplies the width of convnet, resnet and mlp")] = 1.0
    activation: Annotated[Literal["relu", "sigmoid", "tanh", "gelu"], Doc("activation function of mlp")] = "relu"
    dropout: Annotated[float, Doc("share of features dropped before the last layer")] = 0.0
    drop_path: Annotated[float, Doc("share of residual blocks skipped at the last depth (stochastic depth)")] = 0.0
    augment_with: Annotated[
        Literal["auto", "none", "light", "trivial", "augmix"],
        Doc("light: shifts, and mirrors where they leave a class what it is; trivial: TrivialAugment; augmix: AugMix"),
    ] = "auto"
    mirror: Annotated[
        Literal["auto", "on", "off"], Doc("mirror pictures left to right; auto: where the data shows that classes survive it")
    ] = "auto"
    shift: Annotated[int | None, Doc("pixels by which pictures are shifted (default: a sixteenth of the size, at least one)")] = (
        None
    )
    cutout: Annotated[int, Doc("side in pixels of a square that is blanked; 0 for none")] = 0
    color: Annotated[float, Doc("share by which brightness, contrast and saturation are changed; 0 for none")] = 0.0
    rotate: Annotated[float, Doc("degrees by which pictures are turned, either way; 0 for none")] = 0.0
    mixup: Annotated[float, Doc("alpha of mixup; 0 for none")] = 0.0
    cutmix: Annotated[float, Doc("alpha of cutmix; 0 for none")] = 0.0
    label_smoothing: Annotated[float, Doc("probability given to the other classes")] = 0.1
    class_weights: Annotated[Literal["none", "balanced"], Doc("balanced: rare classes count more in the loss")] = "none"

    views: Annotated[
        Literal["one", "mirror"],
        Doc("what answers are the mean of; mirror: a picture and its mirror image, where classes survive it"),
    ] = "one"

    classes: tuple[str, ...] = learned(())
    shape: tuple[int, ...] = learned(())
    mean: tuple[float, ...] = learned(())
    std: tuple[float, ...] = learned(())
    network: str = learned("")
    architecture: Mapping[str, Any] | None = learned(None)
    mirrored: bool = learned(False)
    weights: tuple[float, ...] = learned(())

    name: ClassVar[str] = "image-classification"
    about: ClassVar[str] = "a picture -> one of K labels"
    formats: ClassVar[tuple[str, ...]] = (
        "folder per class",
        "CSV/Parquet/JSONL with path and label",
        "idx files",
        "datasets",
        "arrays",
    )

    @property
    def headline(self) -> tuple[str, Literal["max", "min"]]:
        return "accuracy", "max"

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("image", ("B", *self.shape), "uint8", "image", 0.0, 255.0),)

    @property
    def asks(self) -> tuple[str, ...]:
        return ("image",)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("label",)

    @property
    def decoder(self) -> Classes:
        from lamina.decode.classes import Classes

        return Classes(self.classes)

    def read(self, source: Source) -> Data:
        from lamina.data.demo import digits
        from lamina.data.images import read_images

        self.check_settings()
        return read_images(source, size=self.size, demo=digits, classes=self.classes)

    def prepare(self, data: Data) -> ImageClassification:
        import numpy as np

        from lamina.data.columns import length, take
        from lamina.modalities.symmetry import survives_mirroring
        from lamina.models.by_name import architecture

        self.check_settings()
        if length(data.train) == 0:
            raise LaminaError("data: expected at least one training example; found none")
        labels = np.asarray(data.train["label"])
        classes, counts = np.unique(labels, return_counts=True)
        if len(classes) < 2:
            raise LaminaError(f"data: expected at least two classes; found {len(classes)} ({', '.join(map(str, classes))})")
        some = take(data.train, np.linspace(0, len(labels) - 1, min(len(labels), 5000)).astype(int))
        pixels_NCHW: np.ndarray = some["image"].array()  # type: ignore[attr-defined]
        shape = pixels_NCHW.shape[1:]
        deviation = pixels_NCHW.std((0, 2, 3), dtype=np.float64)
        if self.mirror == "auto":
            mirrored = survives_mirroring(pixels_NCHW, np.asarray(some["label"]))
        else:
            mirrored = self.mirror == "on"
        network = self.model_name
        if network == "auto":
            network = (
                "convnet" if min(shape[1:]) >= 8 and max(shape[1:]) <= SMALL else ("mlp" if max(shape[1:]) < 8 else "resnet18")
            )
        balanced = len(labels) / (len(classes) * counts)
        return dataclasses.replace(
            self,
            classes=tuple(str(c) for c in classes),
            shape=tuple(int(n) for n in shape),
            mean=tuple(pixels_NCHW.mean((0, 2, 3), dtype=np.float64).tolist()),
            std=tuple(np.where(deviation > 1e-3, deviation, 1.0).tolist()),
            network=network,
            architecture=architecture(network, shape, small=max(shape[1:]) <= SMALL, width=self.width),
            mirrored=bool(mirrored),
            weights=tuple(balanced.tolist()) if self.class_weights == "balanced" else (),
        )

    def check_settings(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        from lamina.train.options import expect

        expect("size", self.size, self.size is None or 1 <= self.size <= 4096, "1 to 4096 pixels")
        expect("width", self.width, 0 < self.width <= 64, "a number above 0, up to 64")
        for flag in ("dropout", "drop_path", "label_smoothing"):
            value = getattr(self, flag)
            expect(flag.replace("_", "-"), value, 0 <= value < 1, "a share from 0 to below 1")
        for flag in ("cutout", "color", "mixup", "cutmix"):
            value = getattr(self, flag)
            expect(flag, value, 0 <= value <= 4096, "0 or more")
        expect("rotate", self.rotate, 0 <= self.rotate <= 180, "0 to 180 degrees")
        expect("shift", self.shift, self.shift is None or 0 <= self.shift <= 4096, "0 or more pixels")

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        import torch

        batch = {name: torch.from_numpy(array) for name, array in self.serving().reader.encode(columns).items()}
        if mode != "predict":
            batch["label"] = torch.from_numpy(self.decoder.codes(columns["label"]))
        return batch

    def model(self) -> nn.Module:
        from lamina.models.by_name import architecture, network

        built_as = self.architecture  # runs of the first days have none
        if built_as is None:
            built_as = architecture(self.network, self.shape, small=max(self.shape[1:]) <= SMALL, width=self.width)
        return network(
            self.network,
            self.shape,
            built_as,
            activation=self.activation,
            drop_path=self.drop_path,
            classes=len(self.classes),
            mean=self.mean,
            std=self.std,
            dropout=self.dropout,
        )

    def init(self, model: nn.Module, data: Data) -> None:
        from lamina.data.columns import length, take
        from lamina.models.convnet import ConvNet

        if isinstance(model, ConvNet):
            some = take(data.train, range(min(5000, length(data.train))))
            model.set_whitening(self.encode(some, "train")["image"])

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        from lamina.modalities import augment

        x_BCHW, label_BK = batch["image"], augment.one_hot(batch["label"], len(self.classes), self.label_smoothing)
        if self.augment_with != "none":
            side = min(self.shape[1:])
            if self.mirrored:
                x_BCHW = augment.flip(x_BCHW, generator)
            if side > 2 * SMALL - 1:
                x_BCHW = augment.resized_crop(x_BCHW, generator, scale=(0.35, 1.0))
            else:
                x_BCHW = augment.crop(x_BCHW, max(1, side // 16) if self.shift is None else self.shift, generator)
        if self.augment_with == "trivial":
            x_BCHW = augment.trivial_augment(x_BCHW, generator)
        elif self.augment_with == "augmix":
            x_BCHW = augment.aug_mix(x_BCHW, generator)
        if self.color:
            x_BCHW = augment.color(x_BCHW, generator, self.color, self.color, self.color)
        if self.rotate:
            x_BCHW = augment.affine(x_BCHW, generator, degrees=self.rotate)
        if self.cutout:
            x_BCHW = augment.cutout(x_BCHW, self.cutout, generator, fill=self.mean)
        if self.mixup:
            x_BCHW, label_BK = augment.mixup(x_BCHW, label_BK, self.mixup, generator)
        if self.cutmix:
            x_BCHW, label_BK = augment.cutmix(x_BCHW, label_BK, self.cutmix, generator)
        augmented = {"image": x_BCHW, "label": label_BK}
        if self.weights:
            augmented["weight"] = label_BK @ x_BCHW.new_tensor(self.weights, dtype=label_BK.dtype)  # of what was mixed
        return augmented

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        from lamina.nn.losses import cross_entropy

        return cross_entropy(output["logits"], batch["label"], batch.get("weight"))  # type: ignore[index]

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        """The `which`-th most probable class."""
        return {"label": self.logits(forward, batch).argsort(1, descending=True)[:, which]}

    def serving(self) -> Serving:
        from lamina.modalities.image import PictureReader

        return Serving(PictureReader(self.shape), self.answering)

    @property
    def answering(self) -> ClassAnswers:
        from lamina.decode.classes import ClassAnswers

        return ClassAnswers(self.classes, "image" if self.views == "mirror" and self.mirrored else "")

    def logits(self, forward: Forward, batch: Batch) -> Tensor:
        """The logits (B, K) of an answer, the mean over its views."""
        import torch

        logits_BK = self.answering.logits(asking(forward, self.inputs, batch), arrays_of(batch, self.inputs))
        return torch.from_numpy(logits_BK).to(batch["image"].device)

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        import numpy as np

        from lamina.decode.classes import classification_metrics

        codes = self.decoder.codes
        return classification_metrics(
            codes(examples["label"]), codes(predictions["label"]), np.asarray(predictions["probabilities"])
        )

    def details(self, examples: Columns, predictions: Columns) -> dict[str, Any]:
        from lamina.decode.classes import class_tables

        codes = self.decoder.codes
        return class_tables(self.classes, codes(examples["label"]), codes(predictions["label"]))

    def recipe(self, data: Data) -> Recipe:
        """Batch size and length by the number of examples; optimizer and rates by the family of the network."""
        from lamina.data.columns import length
        from lamina.train.recipe import Recipe

        count = length(data.train)
        size = 512
        while size > 32 and size * 40 > count:  # at least about forty steps an epoch
            size //= 2
        epochs = min(200.0, max(8.0, round(800 * size / count)))  # and at least about eight hundred in all
        if self.network == "convnet":
            return Recipe(
                optimizer="muon",
                lr=0.24,
                momentum=0.6,
                weight_decay=1e-3,
                schedule="linear",
                warmup=0.0,
                epochs=epochs,
                batch_size=size,
            )
        if self.network.startswith("resnet"):
            size = min(size, 128)
            return Recipe(
                optimizer="sgd", lr=0.1 * size / 128, momentum=0.9, weight_decay=5e-4, schedule="one-cycle", warmup=0.2,
                epochs=epochs, batch_size=size,
            )  # fmt: skip
        size = min(size, 256)
        return Recipe(
            optimizer="adamw",
            lr=1e-3 if self.network == "mlp" else 1e-3 * (size / 256) ** 0.5,
            weight_decay=0.05,
            schedule="cosine",
            warmup=0.1,
            epochs=epochs,
            batch_size=size,
            clip=1.0,
        )

    def groups(self, model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
        from lamina.models.convnet import ConvNet
        from lamina.train.optimizers import default_groups

        if not isinstance(model, ConvNet) or recipe.optimizer != "muon":
            return default_groups(model, recipe)
        # As in airbench: filters, which a norm follows, turn; the rest follows plain SGD, at rates of its own.
        filters = [p for p in model.blocks.parameters() if p.ndim == 4]
        rest = [p for p in model.parameters() if p.requires_grad and p.ndim < 4 and p is not model.head.weight]
        sgd = {"optimizer": "sgd", "momentum": 0.85, "weight_decay": recipe.weight_decay}
        return [
            {"params": filters, "unit_rows": True, "weight_decay": 0.0},
            {"params": [model.head.weight], "lr_scale": 2.8, **sgd},
            {"params": rest, "lr_scale": 0.22, **sgd},
        ]
