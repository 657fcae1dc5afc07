"""Trains a small network that reads handwritten digits: 8x8 pixels in, ten logits out.

Data: ``train.csv``, a header line, then a line a digit: 64 pixels from 0 to 16, and the label.
Parameters: epochs; learningRate (0.001 where absent); hidden, the width of the hidden layers (64 where absent).
"""

import numpy as np
import torch
from torch import nn

from slipway_trainer import Context, TrainedModel

BATCH = 32
HELD_OUT = 360  # of 1,797 rows
SPLIT_SEED = 0  # not the run's seed: every run is measured on the same held-out rows


def train(context: Context) -> TrainedModel:
    epochs = context.parameters.integer("epochs")
    rate = context.parameters.number("learningRate", 0.001)
    hidden = context.parameters.integer("hidden", 64)

    table = np.loadtxt(context.data("train") / "train.csv", delimiter=",", skiprows=1, dtype=np.float32)
    table = table[np.random.default_rng(SPLIT_SEED).permutation(len(table))]
    pixels, labels = torch.from_numpy(table[:, :64] / 16), torch.from_numpy(table[:, 64]).long()
    x, y = pixels[HELD_OUT:].to(context.device), labels[HELD_OUT:].to(context.device)
    x_test, y_test = pixels[:HELD_OUT].to(context.device), labels[:HELD_OUT].to(context.device)

    model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)).to(context.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    loss_of = nn.CrossEntropyLoss()

    done = 0
    state = context.restore()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["epoch"]

    accuracy = accuracy_of(model, x_test, y_test)
    for epoch in range(done + 1, epochs + 1):
        model.train()
        # A generator for each epoch, so that a training that goes on from a checkpoint takes the same batches.
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(context.seed * 1_000_003 + epoch))
        total = 0.0
        for rows in order.to(context.device).split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        accuracy = accuracy_of(model, x_test, y_test)
        context.report(step=epoch, of=epochs, accuracy=accuracy, loss=total / len(x))
        print(f"epoch {epoch} of {epochs}: loss {total / len(x):.4f}, accuracy {accuracy:.4f}")
        context.checkpoint({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch})

    return TrainedModel(
        model, example=(x_test[:16],), inputs=["x"], outputs=["logits"], metrics={"accuracy": round(accuracy, 4)}
    )


def accuracy_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        return (model(x).argmax(dim=1) == y).float().mean().item()
