# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Pools of rendered clips and caches of decoded data."""

import functools
import json
import shutil

import cv2
import numpy as np
import pytest
from re3_core.crops import encode
from training import cache as cache_module
from training.cache import cache_recordings, cache_stills, VideoCache
from training.clips import Clip, cut, mirror, MixedSource, reverse
from training.datasets.records import Recording, Still, Track
from training.frame_store import FrameStore, read_image, write_frame_store
from training.pool import build_pool, main, Pool
from training.simulator import Simulator, simulator_of, StillMaterial, VideoBackgrounds

SIZE = (48, 64)
MAKE = functools.partial(simulator_of, size=SIZE)


def build(path, **changes):
    """Build a small pool of drawn clips."""
    settings = {'clips': 6, 'length': 5, 'size': SIZE, 'seed': 3, 'processes': 2}
    return build_pool(path, MAKE, progress=False, **{**settings, **changes})


@pytest.fixture(scope='module')
def pool_folder(tmp_path_factory):
    """Return a finished pool."""
    folder = tmp_path_factory.mktemp('pools') / 'pool'
    build(folder)
    return folder


def files_of(folder):
    """Return the content of all files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_images(folder, count, shape=(40, 60)):
    """Write numbered pictures without loss; return paths and pictures."""
    folder.mkdir(parents=True)
    pictures = [np.random.default_rng(number).integers(0, 255, (*shape, 3), np.uint8)
                for number in range(count)]
    paths = [folder / f'{number:03d}.png' for number in range(count)]
    for path, picture in zip(paths, pictures, strict=True):
        cv2.imwrite(str(path), picture[..., ::-1])
    return paths, pictures


def recording(folder, count=10, boxes=None):
    """Make a recording whose box moves by a pixel per frame."""
    paths, _ = write_images(folder, count)
    if boxes is None:
        steps = np.arange(count, dtype=np.float32)[:, None]
        boxes = np.array((4, 6, 24, 26), np.float32) + steps
    return Recording(folder.name, tuple(paths), tracks=(Track('', boxes),))


def test_clips_of_a_pool_are_those_of_the_simulator(pool_folder):
    """Clip k is what the simulator gives for the seed (seed, k), whichever process made it."""
    pool = Pool(pool_folder)
    assert len(pool) == 6
    for index in (0, 5):
        expected = MAKE().sample(np.random.default_rng((3, index)), 5)
        np.testing.assert_array_equal(pool[index].frames, expected.frames)
        np.testing.assert_array_equal(pool[index].boxes, expected.boxes)
        np.testing.assert_array_equal(pool[index].visible, expected.visible)


def test_interrupted_builds_go_on(pool_folder, tmp_path):
    """Finished clips are kept, missing ones are rendered; the result is the same."""
    partial = tmp_path / 'pool.partial'
    shutil.copytree(pool_folder, partial)
    frames = np.memmap(partial / 'frames.bin', np.uint8, 'r+', shape=(6, 5, *SIZE, 3))
    done = np.memmap(partial / 'done.bin', np.uint8, 'r+', shape=(6,))
    frames[2:4], done[2:4] = 0, 0
    frames[0] = 7
    frames.flush()
    done.flush()
    pool = build(tmp_path / 'pool')
    assert not partial.exists()
    assert (pool[0].frames == 7).all()
    for index in range(1, 6):
        np.testing.assert_array_equal(pool[index].frames, Pool(pool_folder)[index].frames)


def test_finished_pools_are_opened_and_other_settings_refused(pool_folder):
    """A second build does nothing; one with another seed would need another place."""
    before = files_of(pool_folder)
    build(pool_folder)
    assert files_of(pool_folder) == before
    with pytest.raises(ValueError, match='other settings'):
        build(pool_folder, seed=4)


def test_there_must_be_a_pool(tmp_path):
    """A missing pool is named."""
    with pytest.raises(OSError, match='no finished pool'):
        Pool(tmp_path / 'pool')


def test_pools_are_sampled_at_any_length_without_copies(pool_folder):
    """Sub-clips are consecutive, replayable views that start with a visible target."""
    pool = Pool(pool_folder)
    for seed in range(20):
        clip = pool.sample(np.random.default_rng(seed), 3)
        again = pool.sample(np.random.default_rng(seed), 3)
        np.testing.assert_array_equal(clip.boxes, again.boxes)
        assert clip.frames.shape == (3, *SIZE, 3) and clip.visible[0] >= 0.5
        assert not clip.frames.flags.owndata and not clip.frames.flags.writeable
    with pytest.raises(ValueError, match='a clip of 5'):
        pool.sample(np.random.default_rng(0), 6)


def test_pools_are_sampled_with_strides(pool_folder):
    """Every second frame, where the clip is long enough."""
    pool = Pool(pool_folder, strides=(2,))
    clip = pool.sample(np.random.default_rng(1), 3)
    assert any(np.array_equal(clip.boxes, pool[index].boxes[::2]) for index in range(len(pool)))
    assert len(pool.sample(np.random.default_rng(1), 4)) == 4


def test_pool_command(tmp_path, capsys):
    """The command renders a pool and says what is wrong with a second, other one."""
    arguments = ['--clips', '2', '--length', '3', '--size', '48', '64', '--processes', '1',
                 '--output', str(tmp_path / 'pool')]
    assert main(arguments) == 0
    assert len(Pool(tmp_path / 'pool')) == 2
    assert main([*arguments, '--seed', '5']) == 1
    assert 'other settings' in capsys.readouterr().err


def test_frame_store_keeps_images_of_any_size(tmp_path):
    """Images come back as they were, as read-only views."""
    images = [np.full((3, 5, 3), 7, np.uint8), np.arange(8, dtype=np.uint8).reshape(2, 4, 1)]
    write_frame_store(tmp_path / 'store', iter(images))
    store = FrameStore(tmp_path / 'store')
    assert len(store) == 2
    for image, stored in zip(images, store, strict=True):
        np.testing.assert_array_equal(image, stored)
        assert not stored.flags.writeable
    with pytest.raises(ValueError, match='no images'):
        write_frame_store(tmp_path / 'empty', [])


def test_unreadable_images_are_named(tmp_path):
    """An image that is none raises OSError with its path."""
    (tmp_path / 'a.jpg').write_text('no picture')
    with pytest.raises(OSError, match='a.jpg'):
        read_image(tmp_path / 'a.jpg')


def test_recordings_are_cached_once(tmp_path, monkeypatch):
    """The second call opens what the first has decoded; a changed file is decoded again."""
    source = recording(tmp_path / 'ball')
    first = cache_recordings([source], tmp_path / 'cache')
    np.testing.assert_array_equal(first.frame(0, 3), read_image(source.frames[3]))
    written = []
    write = cache_module.write_frame_store
    monkeypatch.setattr(cache_module, 'write_frame_store',
                        lambda *arguments: written.append(write(*arguments)))
    cache_recordings([source], tmp_path / 'cache')
    assert not written
    cv2.imwrite(str(source.frames[3]), np.zeros((40, 60, 3), np.uint8))
    assert not cache_recordings([source], tmp_path / 'cache').frame(0, 3).any()
    assert len(written) == 1


def test_interrupted_caches_leave_nothing(tmp_path):
    """An unreadable frame stops the build; no half cache is left to be opened."""
    source = recording(tmp_path / 'ball')
    source.frames[5].write_text('no picture')
    with pytest.raises(OSError, match='005.png'):
        cache_recordings([source], tmp_path / 'cache')
    assert list((tmp_path / 'cache').iterdir()) == []


def test_frames_and_boxes_are_scaled_together(tmp_path):
    """The longer side of 60 becomes 30, and boxes halve."""
    source = recording(tmp_path / 'ball')
    cached = cache_recordings([source], tmp_path / 'cache', max_side=30)
    assert cached.frame(0, 0).shape == (20, 30, 3)
    np.testing.assert_allclose(cached.track(0).boxes, source.tracks[0].boxes / 2)


def test_tracks_are_sampled_with_stride_and_backwards(tmp_path):
    """Boxes belong to their frames whatever the stride and direction."""
    source = recording(tmp_path / 'ball')
    cached = cache_recordings([source], tmp_path / 'cache', strides=(1, 2),
                              reversed_share=0.5)
    frames = [read_image(path) for path in source.frames]
    seen = set()
    for seed in range(30):
        clip = cached.sample(np.random.default_rng(seed), 4)
        places = np.rint(clip.boxes[:, 0] - 4).astype(int)
        seen.add(int(places[1] - places[0]))
        for place, frame in zip(places, clip.frames, strict=True):
            np.testing.assert_array_equal(frame, frames[place])
    assert seen == {-2, -1, 1, 2}


def test_sampled_clips_begin_with_the_target(tmp_path):
    """Absent targets have nan; a clip starts where the target is there."""
    boxes = np.tile(np.array((4, 6, 24, 26), np.float32), (10, 1))
    boxes[[0, 1, 5]] = np.nan
    cached = cache_recordings([recording(tmp_path / 'ball', boxes=boxes)], tmp_path / 'cache',
                              reversed_share=0.5)
    clips = [cached.sample(np.random.default_rng(seed), 4) for seed in range(30)]
    assert all(clip.present[0] for clip in clips)
    assert any(not clip.present.all() for clip in clips)
    with pytest.raises(ValueError, match='no track has 11 frames'):
        cached.sample(np.random.default_rng(0), 11)


def test_boxes_must_match_the_frames(tmp_path):
    """A track with too few boxes is refused with the recording's name."""
    source = recording(tmp_path / 'ball', boxes=np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match='ball: 3 boxes for 10 frames'):
        cache_recordings([source], tmp_path / 'cache')


def test_stills_are_cached_with_boxes_and_masks(tmp_path):
    """Masks keep their values, boxes follow the size, also one that the annotation tells."""
    paths, pictures = write_images(tmp_path / 'stills', 2)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 20:40] = 1
    cv2.imwrite(str(tmp_path / 'mask.png'), mask)
    box = np.array([(20, 10, 40, 20)], np.float32)
    stills = [Still(paths[0], box, mask=tmp_path / 'mask.png'),
              Still(paths[1], box, annotated_size=(80, 120))]
    cached = cache_stills(stills, tmp_path / 'cache')
    np.testing.assert_array_equal(cached.image(0), pictures[0])
    np.testing.assert_array_equal(cached.mask(0), mask)
    assert cached.mask(1) is None
    np.testing.assert_allclose(cached.boxes(0), box)
    np.testing.assert_allclose(cached.boxes(1), box / 2)
    small = cache_stills(stills, tmp_path / 'cache', max_side=30)
    assert small.mask(0).shape == (20, 30) and set(np.unique(small.mask(0))) == {0, 1}
    np.testing.assert_allclose(small.boxes(0), box / 2)


def test_simulating_with_photographs_and_videos(tmp_path):
    """Masked objects are cut along their masks; real videos serve as backgrounds."""
    paths, _ = write_images(tmp_path / 'stills', 2, (80, 100))
    mask = np.zeros((80, 100), np.uint8)
    mask[10:50, 20:60] = 1
    mask[10:30, 40:60] = 0
    cv2.imwrite(str(tmp_path / 'mask.png'), mask)
    box = np.array([(20, 10, 60, 50)], np.float32)
    stills = [Still(paths[0], box, mask=tmp_path / 'mask.png'), Still(paths[1], box)]
    material = StillMaterial(cache_stills(stills, tmp_path / 'cache'), shares=(1, 0, 0))
    cutout = material.cutout(np.random.default_rng(0))
    assert cutout.image.shape == (40, 40, 3)
    assert (cutout.mask > 0).mean() == pytest.approx(0.75)
    videos = cache_recordings([recording(tmp_path / 'ball')], tmp_path / 'cache')
    simulator = Simulator(material, SIZE, VideoBackgrounds(videos))
    assert len(simulator.sample(np.random.default_rng(1), 4)) == 4


def test_backgrounds_longer_than_the_recording_go_to_and_fro(tmp_path):
    """Neighbouring background frames are always neighbours in the recording."""
    source = recording(tmp_path / 'ball', 4)
    videos = cache_recordings([source], tmp_path / 'cache')
    frames = [read_image(path) for path in source.frames]
    drawn = VideoBackgrounds(videos).frames(np.random.default_rng(2), 9)
    places = [next(index for index, frame in enumerate(frames) if np.array_equal(frame, item))
              for item in drawn]
    assert set(np.abs(np.diff(places))) == {1} and set(places) == {0, 1, 2, 3}


def test_cache_command(tmp_path, capsys):
    """The command prints where the decoded data are."""
    write_images(tmp_path / 'data' / 'ball' / 'img', 3)
    (tmp_path / 'data' / 'ball' / 'groundtruth_rect.txt').write_text('1,2,9,9\n' * 3)
    arguments = [str(tmp_path / 'data'), '--cache', str(tmp_path / 'cache')]
    assert cache_module.main(arguments) == 0
    folder = capsys.readouterr().out.strip().split(': ')[1]
    assert VideoCache(folder).count(0) == 3
    assert json.loads((tmp_path / 'cache' / folder / 'content.json').read_text())['counts'] == [3]
    assert cache_module.main([str(tmp_path / 'nothing')]) == 1
    assert 'no such folder' in capsys.readouterr().err


def small_clip():
    """Return a clip of three frames whose box moves right."""
    frames = [np.full((10, 20, 3), number, np.uint8) for number in range(3)]
    for number, frame in enumerate(frames):
        frame[:, number] = 200
    boxes = np.array([(1, 2, 5, 6), (2, 2, 6, 6), (np.nan,) * 4], np.float32)
    return Clip(frames, boxes, np.array((1, 0.5, 0), np.float32))


def test_mirrored_clips():
    """Frames and boxes are mirrored, absent boxes stay absent; twice is nothing."""
    clip = mirror(small_clip())
    np.testing.assert_array_equal(clip.frames[1][:, 18], 200)
    np.testing.assert_array_equal(clip.boxes[0], (15, 2, 19, 6))
    assert clip.present.tolist() == [True, True, False]
    np.testing.assert_array_equal(mirror(clip).boxes, small_clip().boxes)


def test_reversed_and_cut_clips():
    """Frames, boxes and visible fractions stay together."""
    clip = reverse(small_clip())
    np.testing.assert_array_equal(clip.boxes[2], (1, 2, 5, 6))
    assert clip.visible.tolist() == [0, 0.5, 1] and clip.frames[0][0, 3, 0] == 2
    part = cut(small_clip(), 0, 2, 2)
    assert part.visible.tolist() == [1, 0] and len(part) == 2
    with pytest.raises(ValueError, match='clip of 3'):
        cut(small_clip(), 2, 2)


def test_mixed_sources():
    """Sources are drawn by their weights."""
    class Constant:

        def __init__(self, value):
            self.value = value

        def __len__(self):
            return 5

        def sample(self, generator, length):
            return Clip([np.full((2, 2, 3), self.value, np.uint8)] * length,
                        np.ones((length, 4)), np.ones(length))

    source = MixedSource([Constant(1), Constant(2)], [1, 3])
    generator = np.random.default_rng(0)
    drawn = [int(source.sample(generator, 1).frames[0][0, 0, 0]) for _ in range(400)]
    assert len(source) == 10
    assert 0.68 < np.mean(np.array(drawn) == 2) < 0.82
    with pytest.raises(ValueError, match='one weight'):
        MixedSource([Constant(1)], [0.5, 0.5])


def test_parts_of_targets_keep_their_place_in_them(pool_folder):
    wholes, parts = Pool(pool_folder), Pool(pool_folder, parts=1.)
    sides = []
    for seed in range(20):
        whole = wholes.sample(np.random.default_rng(seed), 4)
        part = parts.sample(np.random.default_rng(seed), 4)
        inner = encode(part.boxes, whole.boxes)
        assert np.allclose(inner, inner[0], atol=1e-3)
        assert (inner >= -1e-3).all() and (inner <= 1 + 1e-3).all()
        sides.extend(inner[0, 2:] - inner[0, :2])
    assert .5 <= min(sides) + 1e-3 and max(sides) <= .9 + 1e-3 and np.std(sides) > .05
    mixed = Pool(pool_folder, parts=.5)
    same = [np.array_equal(mixed.sample(np.random.default_rng(seed), 4).boxes,
                           wholes.sample(np.random.default_rng(seed), 4).boxes)
            for seed in range(40)]
    assert 8 < sum(same) < 32
