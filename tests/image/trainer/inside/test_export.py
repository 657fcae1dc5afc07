"""A torch model becomes one ONNX file that answers the same, or the run ends with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from slipway.contract import Signature, Tensor
from slipway_trainer import TrainedModel
from slipway_trainer import export as exporting
from slipway_trainer.export import export
from slipway_trainer.failures import TrainerError


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def trained(model: Any, *example: torch.Tensor, **more: Any) -> TrainedModel:
    facts: dict[str, Any] = {"inputs": ["x"], "outputs": ["y"], "metrics": {"accuracy": 0.5}, **more}
    return TrainedModel(model, example=facts.pop("example", example), **facts)


def failure(tmp_path: Path, returned: TrainedModel) -> TrainerError:
    with pytest.raises(TrainerError) as caught:
        export(returned, tmp_path)
    return caught.value


def test_a_model_is_exported_with_a_batch_of_any_size(tmp_path: Path) -> None:
    made = export(trained(mlp(), torch.randn(5, 4)), tmp_path)
    assert made.signature == Signature([Tensor("x", "FP32", [-1, 4])], [Tensor("y", "FP32", [-1, 3])])
    assert made.parity is not None
    assert made.parity.rows == 5
    assert made.example is not None
    assert {name: each.shape[0] for name, each in made.example.items()} == {"x": 5}
    assert 0 <= float(made.parity.maxAbsDiff) < 1e-5
    assert made.metrics == {"accuracy": 0.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.safetensors"]


def test_one_example_row_is_enough(tmp_path: Path) -> None:
    assert export(trained(mlp(), torch.randn(1, 4)), tmp_path).signature.inputs == [Tensor("x", "FP32", [-1, 4])]


def test_an_example_may_be_a_bare_tensor(tmp_path: Path) -> None:
    assert export(trained(mlp(), example=torch.randn(2, 4)), tmp_path).parity is not None


def test_the_file_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    export(trained(mlp(), torch.randn(2, 4)), tmp_path)
    model = onnx.load(str(tmp_path / "model.onnx"))
    assert not model.metadata_props
    assert not any(node.doc_string or getattr(node, "metadata_props", ()) for node in model.graph.node)
    assert b"/" + str(Path(__file__).parent.name).encode() not in (tmp_path / "model.onnx").read_bytes()


class Several(nn.Module):
    """Two inputs of different types, two outputs of different types, in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)

    def forward(self, ids: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
        score = self.words(ids).sum(1) * x
        return {"score": score, "best": score.argmax(1)}


def test_several_inputs_and_outputs_each_have_their_type(tmp_path: Path) -> None:
    ids = torch.randint(0, 10, (3, 6))
    made = export(trained(Several(), ids, torch.randn(3, 4), inputs=["ids", "x"], outputs=["score", "best"]), tmp_path)
    assert made.signature == Signature(
        [Tensor("ids", "INT64", [-1, 6]), Tensor("x", "FP32", [-1, 4])],
        [Tensor("score", "FP32", [-1, 4]), Tensor("best", "INT64", [-1])],
    )


def test_layers_that_differ_in_training_are_exported_for_use(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 3)
    ).train()
    made = export(trained(model, torch.randn(4, 1, 8, 8)), tmp_path)
    assert made.signature.inputs == [Tensor("x", "FP32", [-1, 1, 8, 8])]


def test_weights_lie_beside_under_their_own_names(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = mlp()
    model[2].weight = nn.Parameter(model[2].weight.detach())
    export(trained(model, torch.randn(2, 4)), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert set(weights) == set(model.state_dict())
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


# ------------------------------------------------------------------------------------------------------- refusals


class Fixed(nn.Module):
    """Bakes the number of rows into the graph."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 4) * torch.arange(float(int(x.shape[0]))).reshape(2, 1)


class Branch(nn.Module):
    """A Python branch on a value: tracing keeps only one side."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if float(x.sum()) > float(len(x)) * 4 else x


class Counter(nn.Module):
    """Answers differently each time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1.0
        return x + self.calls


class Nested(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return [x, (x, x)]


class Total(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()


class First(nn.Module):
    def forward(self, x: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
        return x * 2


def test_a_branch_that_tracing_lost_is_found_by_comparing(tmp_path: Path) -> None:
    rows = torch.cat([torch.full((1, 4), 9.0), torch.full((3, 4), -9.0)])
    error = failure(tmp_path, trained(Branch(), rows))
    assert (error.reason.name, error.reason.again) == ("ParityFailed", False)
    assert "'y' differs by up to 9 between torch and ONNX, and 0.0001 + 0.001 of the value is allowed" in str(error)


def test_a_model_that_is_not_deterministic_is_found_by_comparing(tmp_path: Path) -> None:
    assert failure(tmp_path, trained(Counter(), torch.randn(2, 4))).reason.name == "ParityFailed"


def test_a_number_of_rows_baked_into_the_graph_is_refused(tmp_path: Path) -> None:
    error = failure(tmp_path, trained(Fixed(), torch.ones(2, 4)))
    assert error.reason.name == "ReturnInvalid"
    assert "fails when it is called with 3 rows" in str(error)


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (trained("weights.pt", torch.ones(2, 4)), "model is of type str: give a torch.nn.Module"),
        (trained(mlp(), example=None), "example is not a tuple of tensors"),
        (trained(mlp(), example=()), "example is not a tuple of tensors"),
        (trained(mlp(), torch.tensor(1.0)), "example is not a tuple of tensors"),
        (trained(mlp(), torch.ones(0, 4)), "have [0] rows"),
        (trained(Several(), torch.ones(2, 4), torch.ones(3, 4), inputs=["a", "b"]), "have [2, 3] rows"),
        (trained(mlp(), torch.ones(2, 4), inputs=["x", "z"]), "inputs is ['x', 'z']: give a list with a name for each"),
        (trained(mlp(), torch.ones(2, 4), inputs="x"), "inputs is 'x'"),
        (trained(mlp(), torch.ones(2, 4), outputs=[]), "outputs is []"),
        (trained(mlp(), torch.ones(2, 4), outputs=["x"]), "an input and an output have the same name"),
        (trained(mlp(), torch.ones(2, 4), outputs=["a", "b"]), "returns 1 tensors and outputs names 2"),
        (trained(Nested(), torch.ones(2, 4)), "returns something besides tensors"),
        (trained(Total(), torch.ones(2, 4)), "its first dimension must be the batch"),
    ],
)
def test_what_was_returned_must_fit_together(tmp_path: Path, returned: TrainedModel, sentence: str) -> None:
    error = failure(tmp_path, returned)
    assert (error.reason.name, error.reason.again) == ("ReturnInvalid", False)
    assert sentence in str(error)


def test_an_input_that_the_model_does_not_use_is_told(tmp_path: Path) -> None:
    error = failure(tmp_path, trained(First(), torch.ones(2, 4), torch.ones(2, 4), inputs=["x", "mask"]))
    assert error.reason.name == "ExportFailed"
    assert "leave out of example what the model does not use" in str(error)


class Unknown(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_an_operator_that_onnx_lacks_is_told(tmp_path: Path) -> None:
    error = failure(tmp_path, trained(Unknown(), torch.ones(2, 4)))
    assert (error.reason.name, error.reason.again) == ("ExportFailed", False)
    assert "bessel_j0" in str(error)


def test_a_model_too_large_for_one_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "SIZE_LIMIT", 100)
    error = failure(tmp_path, trained(mlp(), torch.ones(2, 4)))
    assert error.reason.name == "ExportFailed"
    assert "has 268 bytes of weights" in str(error)


@pytest.mark.parametrize(("scale", "agrees"), [(1.0, True), (1.0005, True), (1.01, False)])
def test_the_tolerance_is_what_it_says(scale: float, agrees: bool) -> None:
    want = torch.tensor([[1.0, -100.0]])
    if agrees:
        assert exporting._difference("y", want, want * scale) == pytest.approx(100 * (scale - 1), abs=1e-4)
    else:
        with pytest.raises(TrainerError, match="differs by up to 1 "):
            exporting._difference("y", want, want * scale)


def test_infinities_and_nan_in_the_same_place_agree_and_elsewhere_do_not() -> None:
    odd = torch.tensor([[float("inf"), float("-inf"), float("nan"), 1.0]])
    assert exporting._difference("y", odd, odd.clone()) == 0.0
    for place in range(4):
        other = odd.clone()
        other[0, place] = 3.0
        with pytest.raises(TrainerError, match="differs"):
            exporting._difference("y", odd, other)


def test_whole_numbers_must_be_equal() -> None:
    with pytest.raises(TrainerError, match="differs by up to 1 "):
        exporting._difference("y", torch.tensor([1000000]), torch.tensor([1000001]))
