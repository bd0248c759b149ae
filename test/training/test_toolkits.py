# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The plug-ins for public toolkits, against stand-ins that call them as the toolkits do."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from training import trackers
from training.toolkits import vot

LENGTH = 6


class Color:
    """An OpenCV tracker that finds its target by its mean color along the row it started in."""

    def init(self, image, box):
        self.box, self.color = box, self._mean(image, box)

    def update(self, image):
        x, y, width, height = self.box
        places = [(left, y, width, height) for left in range(x - 6, x + 7)]
        self.box = min(places, key=lambda box: np.abs(self._mean(image, box) - self.color).sum())
        return True, self.box

    def _mean(self, image, box):
        x, y, width, height = box
        return image[y:y + height, x:x + width].mean((0, 1))


@pytest.fixture(autouse=True)
def color(monkeypatch):
    """Make `opencv:color` known."""
    monkeypatch.setitem(trackers.OPENCV_TRACKERS, 'color', lambda models: Color())


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    """Return image files of two colored patches that move over gray in opposite directions."""
    folder = tmp_path_factory.mktemp('frames')
    rng = np.random.default_rng(0)
    patches = [cv2.resize(rng.integers(0, 255, (5, 5, 3), np.uint8), (30, 24)) for _ in range(2)]
    files = []
    for t in range(LENGTH):
        frame = np.full((120, 160, 3), 128, np.uint8)
        for patch, (x, y, _, _) in zip(patches, _truth(t), strict=True):
            frame[y:y + 24, x:x + 30] = patch
        files.append(str(folder / f'{t:08d}.png'))
        cv2.imwrite(files[-1], frame)
    return files


def _truth(t):
    return (20 + 2 * t, 20, 30, 24), (100 - 2 * t, 80, 30, 24)


def test_got10k_adapter_follows_as_the_toolkit_drives_it(paths, monkeypatch):
    class ToolkitBase:

        def __init__(self, name, is_deterministic=False):
            self.name, self.is_deterministic = name, is_deterministic

    monkeypatch.setitem(sys.modules, 'got10k', ModuleType('got10k'))
    monkeypatch.setitem(sys.modules, 'got10k.trackers', SimpleNamespace(Tracker=ToolkitBase))
    monkeypatch.delitem(sys.modules, 'training.toolkits.got10k', raising=False)
    from training.toolkits.got10k import ToolkitTracker
    tracker = ToolkitTracker(trackers.TrackerSpec(model='opencv:color', label='color'))
    assert (tracker.name, tracker.is_deterministic) == ('color', True)
    images = [cv2.imread(path)[..., ::-1] for path in paths]
    for target in range(2):
        tracker.init(images[0], np.array(_truth(0)[target]))
        for t in range(1, LENGTH):
            box = tracker.update(images[t])
            assert box.shape == (4,)
            np.testing.assert_allclose(box, _truth(t)[target], atol=1)


def test_vot_tracker_follows_many_targets_of_which_one_comes_later(paths):
    tracker = vot.VotTracker('opencv:color')
    assert tracker.multiobject
    for _ in range(2):      # the second time everything must have been forgotten
        (region, properties), = tracker.initialize(paths[0], [(_truth(0)[0], {})])
        assert region == _truth(0)[0]
        assert properties == {}
        later = tracker.update(paths[1], [(_truth(1)[1], {})], {})
        assert len(later) == 2
        assert later[1][0] == _truth(1)[1]
        for t in range(2, LENGTH):
            found = tracker.update({'color': paths[t], 'depth': 'unused'})
            assert all(isinstance(value, float) for region, _ in found for value in region)
            np.testing.assert_allclose([region for region, _ in found], _truth(t), atol=1)


def test_vot_properties_tell_the_confidence_where_there_is_one():
    track = SimpleNamespace(box=np.float32([10, 20, 40, 60]), confidence=.25)
    assert vot._status(track) == ((10., 20., 30., 40.), {'confidence': .25})


class _Trax:
    """A stand-in for the `trax` package: hands out requests and keeps the answers."""

    Region = SimpleNamespace(RECTANGLE='rectangle')
    Image = SimpleNamespace(PATH='path')
    ImageChannel = SimpleNamespace(COLOR='color')
    TraxStatus = SimpleNamespace(INITIALIZE='initialize', FRAME='frame', QUIT='quit')
    Rectangle = SimpleNamespace(create=lambda *region: region)

    def __init__(self, paths):
        first = [(SimpleNamespace(bounds=lambda: _truth(0)[0]), {})]
        self.requests = [self._request('initialize', paths[0], first)]
        self.requests += [self._request('frame', path, None) for path in paths[1:]]
        self.requests.append(SimpleNamespace(type='quit'))
        self.answers = []

    def _request(self, kind, path, objects):
        image = SimpleNamespace(path=lambda: path)
        return SimpleNamespace(type=kind, image={'color': image}, objects=objects)

    def Server(self, regions, images, **options):       # noqa: N802 - its name in trax
        assert (regions, images) == (['rectangle'], ['path'])
        assert options['multiobject']
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def wait(self):
        return self.requests.pop(0)

    def status(self, objects):
        self.answers.append(objects)


def test_trax_server_answers_every_request_until_it_is_told_to_quit(paths, monkeypatch):
    trax = _Trax(paths)
    monkeypatch.setitem(sys.modules, 'trax', trax)
    assert vot.main(['--model', 'opencv:color']) == 0
    assert len(trax.answers) == LENGTH
    for t, ((region, _),) in enumerate(trax.answers):
        np.testing.assert_allclose(region, _truth(t)[0], atol=1)
    assert trax.requests == []
