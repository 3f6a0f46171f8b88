"""Keras 3 at its defaults (compile and fit); with --precision bfloat16 its own `mixed_bfloat16` policy.

The backend is the harness's choice (KERAS_BACKEND). The network is written again here as Keras users write it, layer by
layer the one of lamina.models.resnet: the count of trained weights is compared by the harness. Keras takes the
DataLoader of the other contenders as it is, so pictures and augmentation are the same.
"""

import argparse

import keras
import numpy as np
from keras import layers

from benchmarks.peers.common import CLASSES, DECAY, MEAN, MOMENTUM, RATE, STD, Clock, Pictures, loader, main

HE = keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def convolution(x, width: int, size: int, stride: int):
    return layers.Conv2D(width, size, stride, padding="same", use_bias=False, kernel_initializer=HE)(x)


def block(x, width: int, stride: int):
    """Two 3x3 convolutions and a shortcut, a projection where the shape changes."""
    y = layers.ReLU()(layers.BatchNormalization()(convolution(x, width, 3, stride)))
    y = layers.BatchNormalization(gamma_initializer="zeros")(convolution(y, width, 3, 1))
    if stride != 1:
        x = layers.BatchNormalization()(convolution(x, width, 1, stride))
    return layers.ReLU()(layers.Add()([x, y]))


def resnet20() -> keras.Model:
    """x_BHWC in 0..255 -> logits (B, K)."""
    x = given = keras.Input((28, 28, 1))
    x = layers.Rescaling(1 / STD, -MEAN / STD)(x)
    x = layers.ReLU()(layers.BatchNormalization()(convolution(x, 16, 3, 1)))
    for width in (16, 32, 64):
        for position in range(3):
            x = block(x, width, 2 if width > 16 and position == 0 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(given, layers.Dense(CLASSES, dtype="float32")(x))


class ChannelsLast(Pictures):
    """Pictures as Keras lays them out by default: (H, W, C)."""

    def __getitem__(self, index: int):
        x_CHW, label = super().__getitem__(index)
        return x_CHW.permute(1, 2, 0), label


class Count(keras.callbacks.Callback):
    def __init__(self, clock: Clock, batch: int) -> None:
        super().__init__()
        self.clock, self.size = clock, batch

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.clock.step(self.size)


def train(options: argparse.Namespace, clock: Clock) -> None:
    keras.utils.set_random_seed(0)
    if options.precision == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = resnet20()
    clock.parameters = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    model.compile(
        optimizer=keras.optimizers.SGD(RATE, MOMENTUM, nesterov=True, weight_decay=DECAY),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(loader(options, ChannelsLast), epochs=100, callbacks=[Count(clock, options.batch)])


if __name__ == "__main__":
    main(train, "keras")
