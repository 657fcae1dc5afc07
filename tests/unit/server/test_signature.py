"""What a signature may say about a model, and what the sentence says where it does not fit."""

from __future__ import annotations

import pytest

from slipway.contract import ONNX_DATATYPES, Signature, Tensor
from slipway_server import reasons
from slipway_server.reasons import LoadError
from slipway_server.signature import DTYPES, Declared, Plan, compare

PLAN = Plan.of(Signature([Tensor("x", "FP32", [-1, 64])], [Tensor("y", "FP32", [-1, 10])]))
Y = Declared("y", "tensor(float)", (-1, 10))

FITS = {
    "the same": Declared("x", "tensor(float)", (-1, 64)),
    "the model takes any size, the signature one": Declared("x", "tensor(float)", (-1, -1)),
}
REFUSED = {
    "another name": (Declared("z", "tensor(float)", (-1, 64)), "names the inputs ['x'], but the model has ['z']"),
    "another datatype": (Declared("x", "tensor(double)", (-1, 64)), "'x' is FP32 of shape [-1, 64] in the signature, "),
    "another size": (Declared("x", "tensor(float)", (-1, 65)), "but FP32 of shape [-1, 65] in the model"),
    "another rank": (Declared("x", "tensor(float)", (-1, 8, 8)), "of shape [-1, 8, 8] in the model"),
    "the model's batch is fixed": (Declared("x", "tensor(float)", (1, 64)), "of shape [1, 64] in the model"),
    "no tensor": (Declared("x", "seq(tensor(float))", ()), "but seq(tensor(float)) of shape [] in the model"),
}


@pytest.mark.parametrize("case", FITS)
def test_fits(case: str) -> None:
    compare(PLAN, [FITS[case]], [Y])


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    declared, sentence = REFUSED[case]
    with pytest.raises(LoadError) as caught:
        compare(PLAN, [declared], [Y])
    assert caught.value.reason == reasons.SIGNATURE_MISMATCH
    assert sentence in caught.value.message


def test_an_output_of_unknown_rank_is_left_to_the_warm_up() -> None:
    compare(PLAN, [FITS["the same"]], [Declared("y", "tensor(float)", ())])


@pytest.mark.parametrize(
    ("signature", "sentence"),
    [
        (Signature([], [Tensor("y", "FP32", [-1])]), "must name each input once"),
        (Signature([Tensor("x", "FP32", [-1])] * 2, [Tensor("y", "FP32", [-1])]), "must name each input once"),
        (Signature([Tensor("x", "FP32", [-1])], []), "must name each output once"),
        (Signature([Tensor("x", "BF16", [-1])], [Tensor("y", "FP32", [-1])]), "'x' has datatype 'BF16'"),
    ],
    ids=["no input", "an input twice", "no output", "a datatype that numpy does not have"],
)
def test_a_signature_that_cannot_be_served(signature: Signature, sentence: str) -> None:
    with pytest.raises(LoadError) as caught:
        Plan.of(signature)
    assert sentence in caught.value.message


def test_every_datatype_has_an_onnx_type() -> None:
    assert set(ONNX_DATATYPES.values()) == set(DTYPES)
