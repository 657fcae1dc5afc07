"""Goes on from the weights of an earlier version instead of from random ones.

Data: as in the quickstart. Parameters: epochs; learningRate (0.001 where absent); hidden, as that version had it.
"""

import numpy as np
import torch
from torch import nn

from slipway_trainer import Context, TrainedModel

HELD_OUT = 360  # the rows that the quickstart holds out too, so that the two can be compared
SPLIT_SEED = 0


def train(context: Context) -> TrainedModel:
    epochs = context.parameters.integer("epochs")
    hidden = context.parameters.integer("hidden", 64)

    table = np.loadtxt(context.data("train") / "train.csv", delimiter=",", skiprows=1, dtype=np.float32)
    table = table[np.random.default_rng(SPLIT_SEED).permutation(len(table))]
    pixels, labels = torch.from_numpy(table[:, :64] / 16), torch.from_numpy(table[:, 64]).long()
    x, y, x_test, y_test = pixels[HELD_OUT:], labels[HELD_OUT:], pixels[:HELD_OUT], labels[:HELD_OUT]

    model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    context.load_weights(model)  # of the version that spec.from names
    before = accuracy_of(model, x_test, y_test)
    print(f"{context.parent} has accuracy {before:.4f}")

    optimizer = torch.optim.Adam(model.parameters(), lr=context.parameters.number("learningRate", 0.001))
    loss_of = nn.CrossEntropyLoss()
    for epoch in range(1, epochs + 1):
        model.train()
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            loss_of(model(x[rows]), y[rows]).backward()
            optimizer.step()
        context.report(step=epoch, of=epochs, accuracy=accuracy_of(model, x_test, y_test))

    metrics = {"accuracy": round(accuracy_of(model, x_test, y_test), 4), "accuracyBefore": round(before, 4)}
    return TrainedModel(model, example=(x_test[:16],), inputs=["x"], outputs=["logits"], metrics=metrics)


def accuracy_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        return (model(x).argmax(dim=1) == y).float().mean().item()
