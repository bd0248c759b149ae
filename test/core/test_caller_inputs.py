# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Arguments of any kind: arrays with any strides, sequences, iterables; never kept or changed."""

from copy import deepcopy
from decimal import Decimal
from fractions import Fraction
from pkgutil import resolve_name
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from re3_core import Tracker
from re3_core.crops import MAX_FRAME_SIDE
from re3_core.engines.torch_engine import TorchEngine
import torch

BOX = (40., 30., 90., 80.)


class Subclass(np.ndarray):
    """An array class of the caller."""


def read_only(frame):
    frame = frame.copy()
    frame.flags.writeable = False
    return frame


VIEWS = {
    'BGR': lambda f: np.ascontiguousarray(f[..., ::-1])[..., ::-1],
    'mirrored': lambda f: np.ascontiguousarray(f[:, ::-1])[:, ::-1],
    'rotated': lambda f: np.ascontiguousarray(f[::-1, ::-1])[::-1, ::-1],
    'transposed': lambda f: np.ascontiguousarray(f.transpose(1, 0, 2)).transpose(1, 0, 2),
    'planar': lambda f: np.ascontiguousarray(f.transpose(2, 0, 1)).transpose(1, 2, 0),
    'Fortran order': np.asfortranarray,
    'part of a larger one': lambda f: np.pad(f, ((5, 7), (3, 9), (0, 1)))[5:-7, 3:-9, :3],
    'every second pixel': lambda f: f.repeat(2, 0).repeat(2, 1)[::2, ::2],
    'read-only': read_only,
    'subclass': lambda f: f.view(Subclass),
    'masked': lambda f: np.ma.masked_array(f, mask=f > 99),
}


@pytest.fixture(params=['OpenCV', 'torch'])
def make_tracker(request, network, engine_class):
    """Make trackers that cut crops by OpenCV, as on a CPU, or by torch, as on a GPU."""
    def make(**settings):
        engine = engine_class(request.param == 'torch')(network, 'cpu')
        return Tracker(network=network, engine=engine, **settings)
    return make


def rows(tracks):
    return {name: (*track.box.tolist(), track.confidence, track.lost)
            for name, track in tracks.items()}


def run(tracker, frames, box=BOX):
    return [rows({'a': tracker.init('a', frames[0], box)})] + [
        rows(tracker.update(frame)) for frame in frames[1:]]


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', VIEWS)
def test_frames_of_any_strides_give_the_same_result_and_are_not_changed(
        make_tracker, frames, name):
    views = [VIEWS[name](frame) for frame in frames[:6]]
    for view, frame in zip(views, frames[:6], strict=True):
        assert (np.asarray(view) == frame).all()
    assert run(make_tracker(), views) == run(make_tracker(), frames[:6])
    for view, frame in zip(views, frames[:6], strict=True):
        assert (np.asarray(view) == frame).all()


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', VIEWS)
def test_frames_of_any_strides_go_to_another_device(frames, name):
    """As to a GPU: torch takes no negative strides."""
    engine = SimpleNamespace(device=torch.device('meta'))
    assert TorchEngine.load_frame(engine, VIEWS[name](frames[0])).shape == frames[0].shape


def test_frame_may_be_overwritten_after_the_call(make_tracker, frames):
    buffer, tracker, found = np.empty_like(frames[0]), make_tracker(), []
    for index, frame in enumerate(frames[:6]):
        buffer[:] = frame
        tracks = tracker.update(buffer) if index else {'a': tracker.init('a', buffer, BOX)}
        found.append(rows(tracks))
        buffer[:] = 77
    assert found == run(make_tracker(), frames[:6])


def test_both_ways_of_cropping_agree(network, engine_class):
    rng = np.random.default_rng(0)
    smooth = [cv2.resize(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8), (160, 120),
                         interpolation=cv2.INTER_CUBIC) for _ in range(4)]
    found = []
    for tensors in (False, True):
        tracker = Tracker(network=network, engine=engine_class(tensors)(network, 'cpu'))
        tracker.init('a', smooth[0], BOX)
        found.append([tracker.update(frame)['a'].box for frame in smooth[1:]])
    np.testing.assert_allclose(*found, atol=3)


@pytest.mark.parametrize('box', [
    list(BOX), BOX, np.array(BOX), np.array(BOX, np.float16), np.array(BOX, np.int16),
    np.array(BOX, '>f8'), np.array(BOX, np.uint8), np.array(BOX, np.longdouble),
    np.repeat(BOX, 2)[::2], np.array(BOX)[::-1][::-1], np.array(BOX, object),
    torch.tensor(BOX), torch.tensor(BOX, dtype=torch.bfloat16), torch.tensor(BOX).int(),
    torch.tensor(BOX, requires_grad=True), [torch.tensor(value) for value in BOX],
    [np.float32(value) for value in BOX], [np.int64(value) for value in BOX],
    [Fraction(value) for value in BOX], [Decimal(value) for value in BOX],
    (value for value in BOX), range(40, 41), memoryview(np.array(BOX)),
], ids=lambda box: f'{type(box).__name__} {getattr(box, "dtype", "")}')
def test_boxes_of_any_real_type(network, frames, box):
    if isinstance(box, range):
        box = range(30, 90, 15)     # 30, 45, 60, 75
        expected = tuple(box)
    else:
        expected = BOX
    assert run(Tracker(network=network, device='cpu'), frames[:2], box) == run(
        Tracker(network=network, device='cpu'), frames[:2], expected)


@pytest.mark.parametrize('box', [
    '1234', b'1234', ['1', '2', '3', '4'], [0, 0, True, True], np.ones(4, bool), None, 7,
    [0, 0, 1j, 5], np.array(BOX, complex), torch.ones(4, dtype=torch.bool), np.array([BOX]),
    np.array([0, 1, 9, 9], 'datetime64[s]'), {1, 2, 3, 4}, {1: 1, 2: 2, 3: 3, 4: 4},
    [0, 0, None, 5], np.ma.masked_array(BOX, mask=[0, 1, 0, 0]), np.array(BOX, 'U4'),
    torch.empty(4, device='meta'), [0, 0, 5], [*BOX, 1], [0, 0, 10 ** 400, 5],
], ids=lambda box: f'{type(box).__name__} {box!s:.20}')
def test_other_boxes_are_refused_with_the_reason(network, frames, box):
    tracker = Tracker(network=network, device='cpu')
    with pytest.raises(ValueError, match=r'box must be four numbers \(x1, y1, x2, y2\), got'):
        tracker.init('a', frames[0], box)
    assert tracker.ids == ()


@pytest.mark.parametrize('box', [np.array(BOX), torch.tensor(BOX).double(), list(BOX)])
def test_box_is_copied(make_tracker, frames, box):
    box = deepcopy(box)
    expected = run(make_tracker(), frames[:4])
    tracker = make_tracker()
    tracker.init('a', frames[0], box)
    assert tuple(box) == BOX
    box[:] = box[:0] if isinstance(box, list) else 5
    assert rows({'a': tracker.track('a')}) == expected[0]
    assert [rows(tracker.update(frame)) for frame in frames[1:4]] == expected[1:]


def test_returned_boxes_are_the_callers_own(make_tracker, frames):
    settings = {'lost_confidence': .99, 'found_confidence': .995, 'lost_after': 2}
    expected = run(make_tracker(**settings), frames[:6])
    tracker = make_tracker(**settings)
    tracker.init('a', frames[0], BOX).box[:] = 0
    for frame, row in zip(frames[1:6], expected[1:], strict=True):
        track = tracker.update(frame)['a']
        assert rows({'a': track}) == row
        track.box[:] = 0
        tracker.track('a').box[:] = 0
        assert rows({'a': tracker.track('a')}) == row
    assert any(row['a'][-1] for row in expected), 'lost targets, too'


ITERABLES = {'list': list, 'tuple': tuple, 'generator': lambda ids: (name for name in ids),
             'dict keys': lambda ids: dict.fromkeys(ids).keys(), 'iterator': iter,
             'array': np.array}


@pytest.mark.parametrize('kind', [*ITERABLES, 'set'])
def test_ids_are_any_iterable(network, frames, kind):
    tracker = Tracker(network=network, device='cpu')
    for name in 'abc':
        tracker.init(name, frames[0], BOX)
    make = ITERABLES.get(kind, set)
    assert set(tracker.update(frames[1], make(['c', 'a']))) == {'a', 'c'}
    pairs = ((frame, make([name])) for frame, name in zip(frames[1:4], 'abc', strict=True))
    assert list(tracker.update_frames(pairs)) == ['a', 'b', 'c']
    assert tracker.update(frames[1], make([])) == {}
    assert tracker.update_frames(iter(())) == {}


@pytest.mark.parametrize('ids', ['a', 'abc', b'a', 3, [1], [None], [['a']], [b'a'], [{}]])
def test_what_is_no_iterable_of_ids_is_refused(network, frames, ids):
    tracker = Tracker(network=network, device='cpu')
    tracker.init('a', frames[0], BOX)
    with pytest.raises(ValueError, match='ids must be several target ids'):
        tracker.update(frames[1], ids)


def test_networks_are_not_changed(network, frames):
    network.train()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    modules = [type(module) for module in network.modules()]
    run(Tracker(network=network, device='cpu', precision='bfloat16'), frames[:2])
    run(Tracker(network=network, device='cpu'), frames[:2])
    assert all(module.training for module in network.modules())
    assert [type(module) for module in network.modules()] == modules
    assert all(parameter.requires_grad for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert value.dtype == weights[name].dtype and torch.equal(value, weights[name])


@pytest.mark.parametrize('shape', [(MAX_FRAME_SIDE + 1, 2, 3), (2, MAX_FRAME_SIDE + 1, 3)])
def test_frames_too_large_for_opencv_are_refused(make_tracker, frames, shape):
    tracker = make_tracker()
    large = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match='at most 32766 pixels per side, got'):
        tracker.init('a', large, (0, 0, 2, 2))
    tracker.init('a', frames[0], BOX)
    with pytest.raises(ValueError, match='at most 32766 pixels per side'):
        tracker.update(large)
    largest = np.zeros((2, MAX_FRAME_SIDE, 3), np.uint8)
    assert tracker.init('b', largest, (0, 0, 20, 2)).box.tolist() == [0, 0, 20, 2]


@pytest.mark.parametrize('box', [
    (-1e300, -1e300, 1e300, 1e300), (0, 0, 1e-300, 1e-300), (0, 0, 1e20, 1)])
@pytest.mark.filterwarnings('error')
def test_boxes_of_extreme_sizes(make_tracker, frames, box):
    tracker = make_tracker()
    tracker.init('a', frames[0], box)
    for frame in frames[1:9]:
        track = tracker.update(frame)['a']
        assert np.isfinite(track.box).all() and 0 <= track.confidence <= 1


class Fault(Exception):
    """Any error of a library."""


@pytest.mark.parametrize('place, error', [
    ('re3_core.engines.torch_engine.crop_arrays', cv2.error),
    ('re3_core.networks.Re3LiteNet.step', RuntimeError),
    ('re3_core.networks.Re3LiteNet.features', MemoryError),
    ('re3_core.tracker.redetection.allocate_budget', KeyboardInterrupt),
    ('re3_core.tracker.redetection.extrapolate', Fault)])
def test_update_that_fails_anywhere_changes_nothing(network, frames, monkeypatch, place, error):
    settings = {'reset_every': 1, 'lost_after': 1, 'redetection_candidates': 2}

    def start():
        tracker = Tracker(network=network, device='cpu', **settings)
        for name, box in (('a', BOX), ('b', (0, 0, 30, 30)), ('c', (90, 60, 150, 110))):
            tracker.init(name, frames[0], box)
        tracker.lost_confidence, tracker.found_confidence = .9, .95
        tracker.update(frames[1])
        tracker.update(frames[2])
        tracker.lost_confidence, tracker.found_confidence = .3, .31
        assert {track.lost for track in map(tracker.track, tracker.ids)} == {True}
        tracker._targets['c'].lost = False
        return tracker
    control = start()
    expected = [rows(control.update(frame)) for frame in frames[3:5]]

    calls, target = [], resolve_name(place)

    def count(*arguments, **keywords):
        calls.append(1)
        if len(calls) == fail_at:
            raise error('out of luck')
        return target(*arguments, **keywords)
    fail_at = 0
    tracker = start()
    monkeypatch.setattr(place, count)
    tracker.update(frames[3])
    number = len(calls)
    assert number, f'{place} is not called'
    for fail_at in range(1, number + 1):
        monkeypatch.setattr(place, target)
        tracker = start()
        before = {name: rows({name: tracker.track(name)}) for name in tracker.ids}
        monkeypatch.setattr(place, count)
        calls.clear()
        with pytest.raises(error, match='out of luck'):
            tracker.update(frames[3])
        fail_at = 0
        assert {name: rows({name: tracker.track(name)}) for name in tracker.ids} == before
        assert [rows(tracker.update(frame)) for frame in frames[3:5]] == expected


@pytest.mark.parametrize('arguments', [
    ('a', np.zeros((9, 9), np.uint8), BOX), ('a', None, (0, 0, 0, 0)), ('', None, BOX)])
def test_init_that_fails_keeps_the_target(network, frames, monkeypatch, arguments):
    name, frame, box = arguments
    tracker = Tracker(network=network, device='cpu')
    tracker.init('a', frames[0], BOX)
    with pytest.raises(ValueError):
        tracker.init(name, frames[1] if frame is None else frame, box)
    monkeypatch.setattr(type(network), 'start', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracker.init('a', frames[1], BOX)
    control = Tracker(network=network, device='cpu')
    monkeypatch.undo()
    control.init('a', frames[0], BOX)
    assert rows(tracker.update(frames[1])) == rows(control.update(frames[1]))
