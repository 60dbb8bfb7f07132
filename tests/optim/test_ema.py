"""The running mean against torch's, and by hand; changing places with the weights; going on."""

import pytest
import torch
from torch import nn
from torch.optim import swa_utils

from groundup.optim.ema import Ema


def drift(model: nn.Module, step: int) -> None:
    """Change the weights as a training might."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_it_equals_torch_once_the_start_is_forgotten():
    model = nn.Linear(4, 3)
    ours = Ema(model, 0.9)
    for step in range(200):
        drift(model, step)
        ours.update()
    theirs = swa_utils.AveragedModel(nn.Linear(4, 3), multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    with ours.applied():
        theirs.update_parameters(model)  # its first update takes a copy
    for step in range(200, 220):
        drift(model, step)
        ours.update()
        theirs.update_parameters(model)
    with ours.applied():
        torch.testing.assert_close(model.weight, theirs.module.weight)


def test_a_young_mean_looks_back_on_a_part_of_its_life():
    """One weight, 0, then 1, 2, 3: decays of 2/11, 3/12 and 4/13."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = Ema(model, 0.999)
    expected = 0.0
    for step, decay in ((1, 2 / 11), (2, 3 / 12), (3, 4 / 13)):
        nn.init.constant_(model.weight, step)
        ema.update()
        expected = decay * expected + (1 - decay) * step
    assert ema.tensors()["ema.weight"].item() == pytest.approx(expected)


def test_weights_and_means_change_places_and_back_exactly():
    model = nn.Linear(4, 3)
    ema = Ema(model, 0.9)
    drift(model, 0)
    ema.update()
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    means = {name: tensor.clone() for name, tensor in ema.tensors().items()}
    held = model.weight
    with pytest.raises(RuntimeError, match="inside"), ema.applied():
        assert model.weight is held and torch.equal(model.weight, means["ema.weight"])
        assert torch.equal(ema.tensors()["ema.weight"], weights["weight"])
        raise RuntimeError("inside")
    assert all(torch.equal(parameter, weights[name]) for name, parameter in model.named_parameters())
    assert all(torch.equal(tensor, means[name]) for name, tensor in ema.tensors().items())


def test_it_goes_on_from_its_tensors():
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    first = Ema(model, 0.99)
    for step in range(5):
        drift(model, step)
        first.update()
    second = Ema(other, 0.99)
    other.load_state_dict(model.state_dict())
    second.load({**first.tensors(), "scaler.scale": torch.tensor(1.0)})
    for ema, each in ((first, model), (second, other)):
        drift(each, 5)
        ema.update()
    assert list(first.tensors()) == list(second.tensors()) == ["ema.weight", "ema.bias", "ema_n_updates"]
    assert all(torch.equal(a, b) for a, b in zip(first.tensors().values(), second.tensors().values(), strict=True))


def test_what_cannot_be_meant_is_refused():
    model = nn.Linear(4, 3)
    with pytest.raises(ValueError, match="from 0 to below 1"):
        Ema(model, 1.0)
    tensors = Ema(model, 0.9).tensors()
    with pytest.raises(ValueError, match="lacks ema_n_updates"):
        Ema(model, 0.9).load({})
    with pytest.raises(ValueError, match="of bias is missing"):
        Ema(model, 0.9).load({name: tensor for name, tensor in tensors.items() if "bias" not in name})
    with pytest.raises(ValueError, match=r"of weight has shape \(2,\), not \(3, 4\)"):
        Ema(model, 0.9).load({**tensors, "ema.weight": torch.zeros(2)})
