# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The cache of decoded and rendered frames, and the clips that are drawn from it."""

import functools
import pickle
import threading

import cv2
import numpy as np
import pytest
from re3_core.crops import encode
from re3_core.io.images import read_image
from training.data import cache as cache_module
from training.data.base import LabeledImage, LabeledTrack, LabeledVideo
from training.data.cache import (
    build_cache,
    cache_clips,
    cache_images,
    cache_videos,
    CacheItem,
    FrameCache,
)
from training.data.sources import Clip, MixedSource, TrackClips
from training.simulator import ImageMaterial, make_simulator, Simulator, VideoBackgrounds

SIZE = (48, 64)
MAKE = functools.partial(make_simulator, size=SIZE)


def build(path, **changes):
    """Render a small cache of clips."""
    settings = {'clips': 6, 'length': 5, 'seed': 3, 'processes': 1}
    return cache_clips(path, MAKE, **{**settings, **changes})


@pytest.fixture(scope='module')
def rendered(tmp_path_factory):
    """Return a finished cache of clips, rendered by two processes."""
    return build(tmp_path_factory.mktemp('caches') / 'clips', processes=2)


def files_of(folder):
    """Return the content of all files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_images(folder, count, shape=(40, 60)):
    """Write numbered images without loss; return paths and images."""
    folder.mkdir(parents=True)
    images = [np.random.default_rng(number).integers(0, 255, (*shape, 3), np.uint8)
              for number in range(count)]
    paths = [folder / f'{number:03d}.png' for number in range(count)]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image[..., ::-1])
    return paths, images


def video(folder, count=10, boxes=None):
    """Make a recording whose box moves by a pixel per frame."""
    paths, _ = write_images(folder, count)
    if boxes is None:
        steps = np.arange(count, dtype=np.float32)[:, None]
        boxes = np.array((4, 6, 24, 26), np.float32) + steps
    return LabeledVideo(folder.name, tuple(paths), tracks=(LabeledTrack('', boxes),))


def test_rendered_clips_are_those_of_the_simulator(rendered):
    """Clip k is that of the simulator for the seed (seed, k), whichever process made it."""
    assert len(rendered) == len(rendered.tracks) == 6
    for index in (0, 5):
        expected = MAKE().sample(np.random.default_rng((3, index)), 5)
        np.testing.assert_array_equal(rendered.frames(index), expected.frames)
        np.testing.assert_array_equal(rendered.tracks[index].boxes, expected.boxes)
        np.testing.assert_array_equal(rendered.tracks[index].visible, expected.visible)


@pytest.mark.parametrize('broken', ['between items', 'in the frames', 'in the index'])
def test_interrupted_builds_continue(broken, rendered, tmp_path):
    """Complete items are kept, incomplete ones made again; the result is the same."""
    partial = tmp_path / 'clips.partial'
    partial.mkdir()
    complete = files_of(rendered.directory)
    lines = complete['items.jsonl'].splitlines(keepends=True)
    size = 5 * 48 * 64 * 3
    index = b''.join(lines[:3]) + (lines[3][:20] if broken == 'in the index' else b'')
    frames = complete['frames.bin'][:3 * size + {'between items': 0, 'in the frames': 77,
                                                 'in the index': size}[broken]]
    (partial / 'settings.json').write_bytes(complete['settings.json'])
    (partial / 'items.jsonl').write_bytes(index)
    (partial / 'frames.bin').write_bytes(bytes(100) + frames[100:])
    build(tmp_path / 'clips')
    assert not partial.exists()
    found = files_of(tmp_path / 'clips')
    assert found['items.jsonl'] == complete['items.jsonl']
    assert found['frames.bin'] == bytes(100) + complete['frames.bin'][100:]


def test_finished_caches_are_opened_and_other_settings_refused(rendered):
    """A second build does nothing; one with another seed needs another place."""
    before = files_of(rendered.directory)
    build(rendered.directory)
    assert files_of(rendered.directory) == before
    with pytest.raises(ValueError, match='other settings'):
        build(rendered.directory, seed=4)


def test_there_must_be_a_cache(tmp_path):
    """A missing cache is named."""
    with pytest.raises(OSError, match='cache: no finished cache'):
        FrameCache(tmp_path / 'cache')


def test_a_second_build_waits_for_the_first(tmp_path):
    """It finds the finished cache and builds nothing."""
    began, go, asked, twice = (threading.Event() for _ in range(4))

    def slow(start):
        began.set()
        assert go.wait(60)
        yield CacheItem('one', [np.full((4, 4, 3), 7, np.uint8)])

    def second(start):
        twice.set()
        yield CacheItem('two', [np.full((4, 4, 3), 8, np.uint8)])

    def build_second():
        asked.set()
        build_cache(tmp_path / 'cache', second)

    threads = [threading.Thread(target=build_cache, args=(tmp_path / 'cache', slow)),
               threading.Thread(target=build_second)]
    threads[0].start()
    assert began.wait(60)
    threads[1].start()
    assert asked.wait(60)
    go.set()
    for thread in threads:
        thread.join()
    assert not twice.is_set() and FrameCache(tmp_path / 'cache').frames(0).max() == 7


def test_clips_are_drawn_at_any_length_without_copies(rendered):
    """Sub-clips are consecutive, replayable views that start with a visible target."""
    source = TrackClips(rendered)
    for seed in range(20):
        clip = source.sample(np.random.default_rng(seed), 3)
        again = source.sample(np.random.default_rng(seed), 3)
        np.testing.assert_array_equal(clip.boxes, again.boxes)
        assert clip.frames.shape == (3, *SIZE, 3) and clip.visible[0] >= 0.5
        assert not clip.frames.flags.owndata and not clip.frames.flags.writeable
    with pytest.raises(ValueError, match='no track has 6 frames'):
        source.sample(np.random.default_rng(0), 6)


def test_clips_are_drawn_with_strides(rendered):
    """Every second frame, where the clip is long enough."""
    source = TrackClips(rendered, strides=(2,))
    clip = source.sample(np.random.default_rng(1), 3)
    assert any(np.array_equal(clip.boxes, track.boxes[::2]) for track in rendered.tracks)
    assert len(source.sample(np.random.default_rng(1), 4)) == 4


def test_a_cache_is_pickled_by_its_place(rendered):
    """Other processes map the same file."""
    pickled = pickle.dumps(rendered)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled).frames(2), rendered.frames(2))


def test_a_cache_keeps_images_of_any_size_and_masks(tmp_path):
    """Images come back as they were, as read-only views."""
    images = [np.full((3, 5, 3), 7, np.uint8), np.arange(24, dtype=np.uint8).reshape(2, 4, 3)]
    mask = np.arange(8, dtype=np.uint8).reshape(2, 4)
    box = LabeledTrack('', np.array([(1, 0, 3, 2)], np.float32))
    cache = build_cache(tmp_path / 'cache', lambda start: [
        CacheItem('a', images[:1]), CacheItem('b', images[1:], [box], mask)][start:])
    assert len(cache) == 2 and cache.names == ['a', 'b']
    for index, image in enumerate(images):
        np.testing.assert_array_equal(cache.frames(index), image[None])
        assert not cache.frames(index).flags.writeable
    assert cache.mask(0) is None and len(cache.boxes(0)) == 0
    np.testing.assert_array_equal(cache.mask(1), mask)
    np.testing.assert_array_equal(cache.boxes(1), box.boxes)
    with pytest.raises(ValueError, match='nothing to store'):
        build_cache(tmp_path / 'empty', lambda start: [])


def test_frames_of_one_video_have_one_size(tmp_path):
    """Boxes could not belong to frames of different sizes."""
    frames = [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]
    with pytest.raises(ValueError, match='ball: frame 1 has another size'):
        build_cache(tmp_path / 'cache', lambda start: [CacheItem('ball', frames)])
    assert [path.name for path in tmp_path.iterdir()] == ['.cache.lock']


def test_videos_are_decoded_once(tmp_path):
    """The second call opens the cache of the first; a changed file is decoded again."""
    source = video(tmp_path / 'ball')
    first = cache_videos([source], tmp_path / 'cache')
    np.testing.assert_array_equal(first.frames(0)[3], read_image(source.frames[3]))
    made = (first.directory / 'frames.bin').stat().st_mtime_ns
    again = cache_videos([source], tmp_path / 'cache')
    assert again.directory == first.directory
    assert (again.directory / 'frames.bin').stat().st_mtime_ns == made
    cv2.imwrite(str(source.frames[3]), np.zeros((40, 60, 3), np.uint8))
    assert not cache_videos([source], tmp_path / 'cache').frames(0)[3].any()
    assert len(list((tmp_path / 'cache').glob('videos-*'))) == 2


def test_failed_builds_leave_nothing(tmp_path):
    """An unreadable frame stops the build; no half cache is left to be opened."""
    source = video(tmp_path / 'ball')
    source.frames[5].write_text('no image')
    with pytest.raises(ValueError, match='005.png'):
        cache_videos([source], tmp_path / 'cache')
    assert all(path.suffix == '.lock' for path in (tmp_path / 'cache').iterdir())


def test_frames_and_boxes_are_scaled_together(tmp_path):
    """The longer side of 60 becomes 30, and boxes halve."""
    source = video(tmp_path / 'ball')
    cached = cache_videos([source], tmp_path / 'cache', max_side=30)
    assert cached.frames(0)[0].shape == (20, 30, 3)
    np.testing.assert_allclose(cached.tracks[0].boxes, source.tracks[0].boxes / 2)


def test_tracks_are_sampled_with_stride_and_backwards(tmp_path):
    """Boxes belong to their frames whatever the stride and direction."""
    source = video(tmp_path / 'ball')
    cached = TrackClips(cache_videos([source], tmp_path / 'cache'), (1, 2), reverse_prob=0.5)
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
    cached = TrackClips(cache_videos([video(tmp_path / 'ball', boxes=boxes)], tmp_path / 'cache'),
                        reverse_prob=0.5)
    clips = [cached.sample(np.random.default_rng(seed), 4) for seed in range(30)]
    assert all(clip.present[0] for clip in clips)
    assert any(not clip.present.all() for clip in clips)
    with pytest.raises(ValueError, match='no track has 11 frames'):
        cached.sample(np.random.default_rng(0), 11)


def test_boxes_must_match_the_frames(tmp_path):
    """A track with too few boxes is refused with the video's name."""
    source = video(tmp_path / 'ball', boxes=np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match='ball: 3 boxes for 10 frames'):
        cache_videos([source], tmp_path / 'cache')


def test_images_are_cached_with_boxes_and_masks(tmp_path):
    """Masks keep their values, boxes follow the size, also to one that the annotation gives."""
    paths, pixels = write_images(tmp_path / 'images', 2)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 20:40] = 1
    cv2.imwrite(str(tmp_path / 'mask.png'), mask)
    box = np.array([(20, 10, 40, 20)], np.float32)
    images = [LabeledImage(paths[0], box, mask=tmp_path / 'mask.png'),
              LabeledImage(paths[1], box, annotated_size=(80, 120))]
    cached = cache_images(images, tmp_path / 'cache')
    np.testing.assert_array_equal(cached.frames(0)[0], pixels[0])
    np.testing.assert_array_equal(cached.mask(0), mask)
    assert cached.mask(1) is None
    np.testing.assert_allclose(cached.boxes(0), box)
    np.testing.assert_allclose(cached.boxes(1), box / 2)
    small = cache_images(images, tmp_path / 'cache', max_side=30)
    assert small.mask(0).shape == (20, 30) and set(np.unique(small.mask(0))) == {0, 1}
    np.testing.assert_allclose(small.boxes(0), box / 2)


def test_simulating_with_images_and_videos(tmp_path):
    """Masked objects are cut along their masks; real videos serve as backgrounds."""
    paths, _ = write_images(tmp_path / 'images', 2, (80, 100))
    mask = np.zeros((80, 100), np.uint8)
    mask[10:50, 20:60] = 1
    mask[10:30, 40:60] = 0
    cv2.imwrite(str(tmp_path / 'mask.png'), mask)
    box = np.array([(20, 10, 60, 50)], np.float32)
    images = [LabeledImage(paths[0], box, mask=tmp_path / 'mask.png'), LabeledImage(paths[1], box)]
    material = ImageMaterial(cache_images(images, tmp_path / 'cache'), probabilities=(1, 0, 0))
    cutout = material.cutout(np.random.default_rng(0))
    assert cutout.image.shape == (40, 40, 3)
    assert (cutout.mask > 0).mean() == pytest.approx(0.75)
    videos = cache_videos([video(tmp_path / 'ball')], tmp_path / 'cache')
    simulator = Simulator(material, SIZE, VideoBackgrounds(videos))
    assert len(simulator.sample(np.random.default_rng(1), 4)) == 4


def test_backgrounds_longer_than_the_recording_are_looped(tmp_path):
    """Neighboring background frames are always neighbors in the video."""
    source = video(tmp_path / 'ball', 4)
    videos = cache_videos([source], tmp_path / 'cache')
    frames = [read_image(path) for path in source.frames]
    drawn = VideoBackgrounds(videos).frames(np.random.default_rng(2), 9)
    places = [next(index for index, frame in enumerate(frames) if np.array_equal(frame, item))
              for item in drawn]
    assert set(np.abs(np.diff(places))) == {1} and set(places) == {0, 1, 2, 3}


def test_cache_command(tmp_path, capsys):
    """The command prints the folder of the decoded data."""
    write_images(tmp_path / 'data' / 'ball' / 'img', 3)
    (tmp_path / 'data' / 'ball' / 'groundtruth_rect.txt').write_text('1,2,9,9\n' * 3)
    arguments = [str(tmp_path / 'data'), '--cache', str(tmp_path / 'cache')]
    assert cache_module.main(arguments) == 0
    folder = capsys.readouterr().out.strip().split(': ')[1]
    assert FrameCache(folder).count(0) == 3
    assert cache_module.main([str(tmp_path / 'nothing')]) == 1
    assert 'no such folder' in capsys.readouterr().err


def test_without_a_home_the_cache_folder_must_be_named(monkeypatch):
    """The message names the variable; XDG_CACHE_HOME goes before HOME."""
    monkeypatch.setenv('XDG_CACHE_HOME', '/some/where')
    assert str(cache_module.default_cache()) == '/some/where/re3_ros'
    monkeypatch.delenv('XDG_CACHE_HOME')

    def no_home():
        raise RuntimeError('Could not determine home directory.')
    monkeypatch.setattr(cache_module.Path, 'home', no_home)
    with pytest.raises(OSError, match='set HOME'):
        cache_module.default_cache()


def test_some_frames_of_a_clip():
    """Frames, boxes and visible fractions stay together."""
    frames = [np.full((10, 20, 3), number, np.uint8) for number in range(3)]
    boxes = np.array([(1, 2, 5, 6), (2, 2, 6, 6), (np.nan,) * 4], np.float32)
    clip = Clip(frames, boxes, np.array((1, 0.5, 0), np.float32))
    back = clip.take(slice(None, None, -1))
    np.testing.assert_array_equal(back.boxes[2], (1, 2, 5, 6))
    assert back.visible.tolist() == [0, 0.5, 1] and back.frames[0][0, 0, 0] == 2
    part = clip.take(np.array((0, 2)))
    assert part.visible.tolist() == [1, 0] and part.frames[1][0, 0, 0] == 2
    assert part.present.tolist() == [True, False]


def test_mixed_sources():
    """Sources are drawn by their weights."""
    class Constant:

        def __init__(self, value):
            self.value = value

        def sample(self, generator, length):
            return Clip([np.full((2, 2, 3), self.value, np.uint8)] * length,
                        np.ones((length, 4)), np.ones(length))

    source = MixedSource([Constant(1), Constant(2)], [1, 3])
    generator = np.random.default_rng(0)
    drawn = [int(source.sample(generator, 1).frames[0][0, 0, 0]) for _ in range(400)]
    assert 0.68 < np.mean(np.array(drawn) == 2) < 0.82
    with pytest.raises(ValueError, match='weights of the 1 sources must not all be 0'):
        MixedSource([Constant(1)], [0.])


def test_parts_of_targets_keep_their_place_in_them(rendered):
    """The part is the same in all frames."""
    wholes, parts = TrackClips(rendered), TrackClips(rendered, part_prob=1.)
    sides = []
    for seed in range(20):
        whole = wholes.sample(np.random.default_rng(seed), 4)
        part = parts.sample(np.random.default_rng(seed), 4)
        inner = encode(part.boxes, whole.boxes)
        assert np.allclose(inner, inner[0], atol=1e-3)
        assert (inner >= -1e-3).all() and (inner <= 1 + 1e-3).all()
        sides.extend(inner[0, 2:] - inner[0, :2])
    assert .5 <= min(sides) + 1e-3 and max(sides) <= .9 + 1e-3 and np.std(sides) > .05
    mixed = TrackClips(rendered, part_prob=.5)
    same = [np.array_equal(mixed.sample(np.random.default_rng(seed), 4).boxes,
                           wholes.sample(np.random.default_rng(seed), 4).boxes)
            for seed in range(40)]
    assert 8 < sum(same) < 32
