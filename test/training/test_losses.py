# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The loss: anchors, absent and hidden targets."""

import pytest
from re3_core.networks import Prediction
import torch
from training.config import LossWeights
from training.losses import generalized_iou, unroll_loss

MIDDLE = torch.tensor([.25, .25, .75, .75])


def prediction_of(boxes, score=0.):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).requires_grad_()
    return Prediction(boxes, torch.full(boxes.shape[:2], score))


def loss_of(boxes, targets, visible=None, **weights):
    targets = torch.as_tensor(targets, dtype=torch.float32)
    visible = torch.ones(targets.shape[:2]) if visible is None else torch.tensor(visible)
    return unroll_loss(prediction_of(boxes), targets, visible, LossWeights(**weights))


def test_l1_is_ten_times_the_sum_of_the_corner_differences():
    loss, parts = loss_of([[MIDDLE.tolist()]], [[(MIDDLE + .1).tolist()]])
    assert loss.item() == pytest.approx(10 * 4 * .1, rel=1e-5)
    assert parts['overlap'] == pytest.approx(.16 / .34, rel=1e-5)


def test_loss_is_a_mean_over_moments_so_halves_average_to_the_whole():
    torch.manual_seed(0)
    boxes, targets = torch.rand(3, 4, 4).sort(-1).values, torch.rand(3, 4, 4).sort(-1).values
    targets[1, 1] = torch.nan
    visible = torch.rand(3, 4)
    weights = LossWeights(l1=5., giou=1., confidence=.5)

    def loss(rows):
        return unroll_loss(prediction_of(boxes[:, rows]), targets[:, rows], visible[:, rows],
                           weights)[0].item()
    halves = (loss(slice(0, 2)) + loss(slice(2, 4))) / 2
    assert loss(slice(0, 4)) == pytest.approx(halves, rel=1e-6)


@pytest.mark.parametrize('other, expected', [
    ((0., 0., 2., 2.), 1.),
    ((0., 0., 1., 2.), .5),                  # half of it: the hull is the larger box
    ((2., 0., 4., 2.), 0.),                  # side by side
    ((4., 0., 6., 2.), -1 / 3),              # 4 of the hull's 12 are in neither
])
def test_generalized_iou(other, expected):
    found = generalized_iou(torch.tensor([0., 0., 2., 2.]), torch.tensor(other))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_giou_pulls_boxes_that_do_not_touch():
    prediction = prediction_of([[[0., 0., .2, .2]]])
    loss, _ = unroll_loss(prediction, torch.tensor([[[.6, .6, .8, .8]]]), torch.ones(1, 1),
                          LossWeights(l1=0., giou=1.))
    loss.backward()
    assert (prediction.boxes.grad[0, 0] < 0)[2:].all()


def test_absent_target_teaches_no_box_and_a_low_score():
    prediction = Prediction(MIDDLE.expand(1, 1, 4).clone().requires_grad_(),
                            torch.zeros(1, 1, requires_grad=True))
    loss, _ = unroll_loss(prediction, torch.full((1, 1, 4), torch.nan), torch.ones(1, 1),
                          LossWeights(l1=5., giou=1., confidence=1.))
    loss.backward()
    assert torch.isfinite(loss) and (prediction.boxes.grad == 0).all()
    assert prediction.logits.grad.item() == pytest.approx(.5)     # sigmoid(0) - 0


@pytest.mark.parametrize('visible, share', [(1., 1.), (.5, 1.), (.25, .5), (0., .1)])
def test_hidden_targets_count_less(visible, share):
    loss, _ = loss_of([[MIDDLE.tolist()]], [[(MIDDLE + .1).tolist()]], [[visible]], l1=1.)
    assert loss.item() == pytest.approx(.4 * share, rel=1e-5)
    plain, _ = loss_of([[MIDDLE.tolist()]], [[(MIDDLE + .1).tolist()]], [[visible]], l1=1.,
                       occlusion_weighting=0.)
    assert plain.item() == pytest.approx(.4, rel=1e-5)


def test_what_lies_outside_of_the_crop_is_hidden_too():
    target = MIDDLE + torch.tensor([.625, 0, .625, 0])           # a quarter of it inside
    loss, parts = loss_of([[MIDDLE.tolist()]], [[target.tolist()]], l1=1.)
    assert loss.item() == pytest.approx(1.25 * .5, rel=1e-5)


def test_a_box_on_a_target_that_nobody_sees_is_no_reason_for_a_score():
    def grad(visible):
        score = torch.zeros(1, 1, requires_grad=True)
        loss, _ = unroll_loss(Prediction(MIDDLE.expand(1, 1, 4), score), MIDDLE.expand(1, 1, 4),
                              torch.tensor([[visible]]), LossWeights(l1=0., confidence=1.))
        loss.backward()
        return score.grad.item()
    assert grad(1.) == pytest.approx(-.5) and grad(0.) == pytest.approx(.5)


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match='greater than or equal to 0'):
        LossWeights(l1=-1.)
