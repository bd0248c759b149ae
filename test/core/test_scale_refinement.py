# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0


"""Scale refinement, with a network that keeps the size and compares brightness."""

import numpy as np
import pytest
from re3_core import boxes as box_ops
from re3_core import scale_refinement, Tracker
from re3_core.crops import CropSpec
from re3_core.networks import Crops, Prediction, TrackerNetwork
import torch

SIZE = 60


class Still(TrackerNetwork):
    """Keep the box; the similarity of crops is that of their brightness."""

    name = 'still'
    previous_crop = CropSpec(32, 1.5)
    current_crop = CropSpec(50, 2.5)
    has_template_similarity = True

    def features(self, crops):
        return (crops.previous.float().mean((1, 2, 3))[:, None],)

    def reference(self, features):
        return features

    def encode(self, features, reference):
        return features[0]

    def recur(self, encoded, memory):
        return Prediction(torch.tensor([[.3, .3, .7, .7]]).repeat(len(encoded), 1),
                          torch.full((len(encoded),), 2.)), memory

    def template_similarity(self, crops, reference):
        brightness, = self.features(Crops(crops, None))
        return 1 - (brightness - reference[0])[:, 0].abs() / 255


def image_with(side):
    """Return a black image with a white square in its middle."""
    frame = np.zeros((200, 200, 3), np.uint8)
    low = (200 - side) // 2
    frame[low:low + side, low:low + side] = 255
    return frame


def box_of(side):
    return np.array((100 - side / 2, 100 - side / 2, 100 + side / 2, 100 + side / 2))


def track_sizes(sides, network=Still, **settings):
    """Return the sides of the boxes of a square that is `sides` large, frame by frame."""
    tracker = Tracker(network=network({}), device='cpu', **settings)
    tracker.init('a', image_with(SIZE), box_of(SIZE))
    boxes = [tracker.update(image_with(side))['a'].box for side in sides]
    return np.array([(box[2] - box[0], box[3] - box[1]) for box in boxes])


@pytest.mark.parametrize('side', [36, 100])
def test_a_box_of_the_wrong_size_is_corrected_step_by_step(side):
    sizes = track_sizes([side] * 60)
    assert abs(np.log2(sizes[-1] / side)).max() < scale_refinement.SCALE_STEP
    errors = abs(np.log2(sizes[:, 0] / side))
    assert (np.diff(errors) <= 1e-6).all()
    changed = np.flatnonzero(abs(np.diff(sizes[:, 0])) > .01) + 2
    assert len(set(changed % scale_refinement.REFINE_EVERY)) == 1, 'only refinements change it'


def test_targets_started_together_are_refined_in_different_frames(monkeypatch):
    refined = []
    tracker = Tracker(network=Still({}), device='cpu')
    monkeypatch.setattr(
        tracker.network, 'template_similarity',
        lambda crops, reference: refined.append(1) or torch.zeros(9))
    for number in range(16):
        tracker.init(f'target {number}', image_with(SIZE), box_of(SIZE))
    counts = []
    for _ in range(4):
        tracker.update(image_with(SIZE))
        counts.append(len(refined))
    assert counts[-1] == 16
    assert max(np.diff([0, *counts])) <= 8


def test_no_refinement_if_switched_off_or_without_template_similarity():
    assert track_sizes([36] * 20, refine_every=0) == pytest.approx(SIZE, abs=1e-3)

    class Blind(Still):
        has_template_similarity = False
    assert track_sizes([36] * 20, network=Blind) == pytest.approx(SIZE, abs=1e-3)


def test_box_that_fits_is_kept():
    assert track_sizes([SIZE] * 20) == pytest.approx(SIZE, abs=1e-3)


def test_lost_target_is_not_refined():
    class Uncertain(Still):
        def recur(self, encoded, memory):
            prediction, memory = super().recur(encoded, memory)
            return Prediction(prediction.boxes, prediction.logits - 4), memory
    tracker = Tracker(network=Uncertain({}), device='cpu', lost_after=1, redetection_candidates=0)
    tracker.init('a', image_with(SIZE), box_of(SIZE))
    for _ in range(9):
        track = tracker.update(image_with(36))['a']
    assert track.lost
    assert track.box == pytest.approx(box_of(SIZE), abs=1e-3)


def test_refinement_needs_a_minimum_gain():
    similarity = np.full(9, .5)
    similarity[3] = .5 + scale_refinement.MIN_SIMILARITY_GAIN / 2
    box = np.array([0., 0., 10., 10.])
    assert scale_refinement.refine_scale(box, similarity) == pytest.approx(box)
    similarity[3] = .5 + 2 * scale_refinement.MIN_SIMILARITY_GAIN
    expected = scale_refinement.scale_boxes(
        box, scale_refinement.SCALE_LR * scale_refinement.SCALE_OFFSETS[3])
    assert scale_refinement.refine_scale(box, similarity) == pytest.approx(expected)


def test_change_of_area_lowers_the_confidence_up_to_a_limit():
    box, rate = np.array([0., 0., 30., 20.]), {'weight': .7, 'bias': .2}
    changes = [float(scale_refinement.abs_log_area_ratio(box, 600 * factor))
               for factor in (1, .5, 2, 50)]
    assert changes == pytest.approx([0, np.log(2), np.log(2), scale_refinement.MAX_LOG_AREA_RATIO])
    confidences = [scale_refinement.recalibrate(.5, change, **rate) for change in changes]
    assert confidences[0] == pytest.approx(1 / (1 + np.exp(-.2)))
    assert confidences[0] > confidences[1] == confidences[2] > confidences[3] > .3
    assert [scale_refinement.recalibrate(value, .5, **rate) for value in (0., 1.)] == [0, 1]


def test_returned_size_is_shrunk_and_tracked_size_is_not():
    class Growing(Still):
        has_template_similarity = False

        def recur(self, encoded, memory):
            half = .2 * 1.03    # per frame; .2 would keep the box
            box = torch.tensor([[.5 - half, .5 - half, .5 + half, .5 + half]])
            return Prediction(box.repeat(len(encoded), 1), torch.full((len(encoded),), 2.)), memory

    def boxes(std):
        network = Growing({})
        network.size_std = std
        tracker = Tracker(network=network, device='cpu')
        returned = [tracker.init('a', image_with(SIZE), box_of(SIZE)).box]
        return np.array(returned + [tracker.update(image_with(SIZE))['a'].box for _ in range(30)])
    tracked, returned = boxes((0., 0.)), boxes((.1, .05))
    assert np.array_equal(returned[0], tracked[0])
    expected = [scale_refinement.shrink_size(box, tracked[0], (.1, .05))
                for box in tracked.astype(float)]
    assert returned == pytest.approx(np.array(expected), abs=1e-3)
    growth, shrunk = (np.log(some[:, 2] - some[:, 0]) - np.log(SIZE)
                      for some in (tracked, returned))
    assert growth[-1] == pytest.approx(30 * np.log(1.03), abs=1e-4)
    assert shrunk[2] < .5 * growth[2]
    assert shrunk[-1] > .95 * growth[-1]


def test_scale_and_aspect_are_shrunk_separately():
    initial, wide = np.array([0., 0., 40., 40.]), np.array([-4., 2., 44., 38.])
    assert scale_refinement.shrink_size(wide, initial, (0., 0.)) == pytest.approx(wide)
    shrunk = scale_refinement.shrink_size(wide, initial, (0., .5))
    assert box_ops.area(shrunk) == pytest.approx(box_ops.area(wide))
    assert shrunk[2] - shrunk[0] < 1.05 * (shrunk[3] - shrunk[1])
