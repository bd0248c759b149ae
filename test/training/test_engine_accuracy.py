# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Accuracy of the packaged network with every engine and precision on simulated clips."""

import importlib.util

import numpy as np
import pytest
from re3_core import Tracker
from re3_core.boxes import iou
from re3_core.engines import EngineError, PACKAGES
from training.engine_benchmark import PRECISIONS
from training.metrics import success_curve
from training.simulator import ProceduralMaterial, Simulator
from training.train import track_clips

CLIPS, LENGTH, SIZE = 10, 16, (180, 240)
SETTINGS = [(engine, precision) for engine in ('torch', 'onnxruntime', 'openvino')
            for precision in PRECISIONS[engine] if (engine, precision) != ('torch', 'float32')]


@pytest.fixture(scope='module')
def clips():
    simulator = Simulator(ProceduralMaterial(), SIZE)
    return [simulator.sample(np.random.default_rng((7, index)), LENGTH) for index in range(CLIPS)]


def boxes_of(tracker, clips):
    """Return the tracked boxes (CLIPS, LENGTH - 1, 4)."""
    return np.array([[track.box for track in tracks[1:]]
                     for tracks in track_clips(tracker, clips)])


def mean_auc(boxes, clips):
    """Return the area under the success curve over all frames with a target."""
    truth = np.stack([clip.boxes[1:] for clip in clips])
    known = np.isfinite(truth).all(-1)
    return success_curve(iou(boxes[known].astype(float), truth[known].astype(float))).mean()


@pytest.fixture(scope='module')
def reference(clips):
    """Return the boxes of torch in float32."""
    return boxes_of(Tracker(engine='torch', device='cpu'), clips)


@pytest.mark.parametrize(('engine', 'precision'), SETTINGS)
def test_tracks_are_as_accurate_as_those_of_torch(clips, reference, engine, precision):
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        pytest.skip(f'{engine} is not installed')
    try:
        tracker = Tracker(engine=engine, precision=precision, device='cpu', threads=1)
    except EngineError as error:
        if 'this CPU has no bfloat16' in str(error):
            pytest.skip(str(error))
        raise
    boxes, expected = boxes_of(tracker, clips), mean_auc(reference, clips)
    assert expected > .78
    assert mean_auc(boxes, clips) == pytest.approx(expected, abs=.01)
    if precision == 'float32':      # a decision may be made otherwise once, and all that follows
        assert np.median(np.abs(boxes - reference)) < .01
    else:
        assert np.abs(boxes - reference).max() > 1e-3       # another precision was used
