"""Inside ``rounded`` the model is its own int8 form; outside it is untouched."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from conftest import TINY, random_weights

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.model.jinabert import JinaBert  # noqa: E402
from tinyrerank.model.weights import quantizable  # noqa: E402
from tinyrerank.train.quantize import rounded  # noqa: E402


def model_with_a_row_of_zeros() -> JinaBert:
    model = JinaBert.from_weights(random_weights(TINY))
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[7] = 0.0
    return model


def test_inside_the_weights_are_what_the_int8_form_gives_back() -> None:
    model = model_with_a_row_of_zeros()
    before = model.to_weights()
    shipped = before.to_int8().to_dense()
    with rounded(model):
        inside = {name: t.clone().numpy() for name, t in model.state_dict().items()}
    for name, array in inside.items():
        np.testing.assert_array_equal(array, shipped.tensors[name], err_msg=name)
    changed = [name for name in inside if not np.array_equal(inside[name], before.tensors[name])]
    assert changed == [name for name in inside if name in set(quantizable(inside))]


@pytest.mark.parametrize("fails", [False, True])
def test_outside_the_weights_are_the_originals_bit_for_bit(*, fails: bool) -> None:
    model = model_with_a_row_of_zeros()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    ids = torch.full((1, 3), TINY.vocab_size if fails else 5)  # outside of the vocabulary, or in it
    with pytest.raises(IndexError) if fails else nullcontext(), rounded(model):
        model(ids)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_gradients_are_those_at_the_rounded_weights() -> None:
    model, ids = model_with_a_row_of_zeros(), torch.tensor([[0, 9, 2, 2, 30, 41, 2]])
    with rounded(model):
        model(ids).sum().backward()
    shipped = JinaBert.from_weights(model.to_weights().to_int8())
    shipped(ids).sum().backward()
    for (name, p), (_, q) in zip(model.named_parameters(), shipped.named_parameters(), strict=True):
        if q.grad is None:
            assert p.grad is None, name
        else:
            assert p.grad is not None, name
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-6)
