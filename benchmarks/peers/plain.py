"""The loop of PyTorch's tutorial: float32, a DataLoader that augments picture by picture, the default memory layout."""

import argparse

from torch.nn import functional

from benchmarks.peers.common import Clock, Logits, loader, main, parameters, sgd


def train(options: argparse.Namespace, clock: Clock) -> None:
    model, batches = Logits(), loader(options)
    optimizer = sgd(model)
    clock.parameters = parameters(model)
    model.train()
    while True:
        for x_BCHW, y_B in batches:
            loss = functional.cross_entropy(model(x_BCHW), y_B)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            clock.step(len(y_B))


if __name__ == "__main__":
    main(train)
