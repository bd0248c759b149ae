# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Projects of the label page: changes that are stored, undo, filling in, import and export."""

import io
from threading import Event
import zipfile

import numpy as np
import pytest
from re3_core.io.images import save_image
from re3_core.io.video import video_writer
from re3_core.tracker import Track as TrackerTrack
from training.data import detect_format, read_dataset
from training.data.base import DataError
from training.label import export_zip, load_upload, main, open_project
from training.labels import read_labels, TargetLabels, VideoLabels, WRITTEN
from training.labels.model import frame_names
from training.labels.project import (
    create_project,
    Filler,
    LABELS_FILE,
    locked,
    Project,
    ProjectError,
    TRACKS_FILE,
)
from training.labels.propagation import Key, Track

COUNT, SIZE = 12, (64, 48)
BOX = (10., 8., 30., 28.)


@pytest.fixture
def images(tmp_path):
    """Return a folder of images."""
    for number in range(COUNT):
        save_image(tmp_path / 'walk' / f'{number:03d}.png',
                   np.full((SIZE[1], SIZE[0], 3), 10 * number, np.uint8))
    return tmp_path / 'walk'


@pytest.fixture
def home(images, tmp_path):
    """Return the folder of a new project."""
    create_project(tmp_path / 'walk_labels', 'walk', images)
    return tmp_path / 'walk_labels'


def shifted(by):
    """Return a box that lies some pixels to the right."""
    return BOX[0] + by, BOX[1], BOX[2] + by, BOX[3]


class Still:
    """A tracker that keeps the box."""

    def reset(self):
        pass

    def init(self, target_id, frame, box):
        self.box = np.asarray(box, np.float32)

    def update(self, frame):
        return {'target': TrackerTrack(self.box, .8, False)}


@pytest.fixture
def fill():
    """Return a function that fills in a project until its targets are done."""
    running = []

    def start(project, make=Still, count=None):
        done = []
        finished = Event()
        errors = []

        def on_track(identity):
            done.append(identity)
            if len(set(done)) >= (len(project.targets) if count is None else count):
                finished.set()

        def on_error(text):
            errors.append(text)
            finished.set()
        filler = Filler(project, make, on_track, lambda *progress: None, on_error)
        running.append(filler)
        filler.start()
        filler.request(*project.targets)
        assert finished.wait(60)
        return errors
    yield start
    for filler in running:
        filler.stop()


# ---- changes ----

def test_each_change_is_on_the_disk_before_it_returns(home):
    project = Project(home)

    def stored():
        return {name: sorted(target.keys) for name, target in Project(home).targets.items()}
    assert project.set_key('', 0, Key(BOX)) == '1' and stored() == {'1': [0]}
    assert project.set_key('', 3, Key(BOX)) == '2' and stored() == {'1': [0], '2': [3]}
    project.set_key('1', 5, Key(None))
    assert stored() == {'1': [0, 5], '2': [3]}
    project.rename('1', 'cup', 'mug')
    assert stored() == {'cup': [0, 5], '2': [3]} and Project(home).targets['cup'].label == 'mug'
    project.remove_key('cup', 5)
    assert stored() == {'cup': [0], '2': [3]}
    project.remove_key('2', 3)
    assert stored() == {'cup': [0]}
    for expected in ({'cup': [0], '2': [3]}, {'cup': [0, 5], '2': [3]}, {'1': [0, 5], '2': [3]}):
        project.undo()
        assert stored() == expected
    project.redo()
    assert stored() == {'cup': [0, 5], '2': [3]}
    project.set_key('cup', 7, Key(BOX, True))
    assert not project.can_redo and Project(home).targets['cup'].keys[7].occluded


@pytest.mark.parametrize(('change', 'error'), [
    (lambda p: p.set_key('1', COUNT, Key(BOX)), 'no frame 12'),
    (lambda p: p.set_key('1', 0, Key((5., 5., 5., 9.))), 'x1 < x2'),
    (lambda p: p.set_key('1', 0, Key((100., 5., 120., 9.))), 'not in the image'),
    (lambda p: p.set_key('1', 0, Key((0., 0., float('nan'), 9.))), 'x1 < x2'),
    (lambda p: p.set_key('new', 0, Key(None)), 'starts with a box'),
    (lambda p: p.remove_key('1', 4), 'no key frame'),
    (lambda p: p.remove('x'), "no target 'x'"),
    (lambda p: p.rename('1', '2', ''), 'already'),
    (lambda p: p.rename('1', ' ', ''), 'printable'),
    (lambda p: p.redo(), 'nothing to redo'),
])
def test_a_refused_change_leaves_everything_as_it_was(home, change, error):
    project = Project(home)
    project.set_key('1', 0, Key(BOX))
    project.set_key('2', 0, Key(BOX))
    before = (home / LABELS_FILE).read_bytes()
    with pytest.raises(ProjectError, match=error):
        change(project)
    assert (home / LABELS_FILE).read_bytes() == before
    assert sorted(Project(home).targets) == sorted(project.targets) == ['1', '2']


def test_a_change_that_cannot_be_stored_is_not_made(home, monkeypatch):
    project = Project(home)
    project.set_key('1', 0, Key(BOX))

    def full(*arguments):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr('training.labels.project.write_json', full)
    with pytest.raises(OSError, match='No space'):
        project.set_key('1', 4, Key(BOX))
    with pytest.raises(OSError, match='No space'):
        project.undo()
    assert sorted(project.targets['1'].keys) == [0] and project.can_undo


def test_a_project_is_open_once(home):
    with locked(home), pytest.raises(ProjectError, match='open in another program'), locked(home):
        pass


@pytest.mark.parametrize('text', [
    '', '{}', '[]', '{"version": 2}',
    '{"version": 1, "name": "a", "frames": ["0.png"], "size": [4, 4], "folder": ".", "targets": '
    '{"a": {"label": "", "keys": {"7": {"box": null, "occluded": false}}}}}'])
def test_damaged_labels_are_named(home, text):
    (home / LABELS_FILE).write_text(text)
    with pytest.raises(DataError, match='labels.json') as caught:
        Project(home)
    assert '\n' not in str(caught.value)


# ---- filling in ----

def test_targets_are_filled_in_and_kept(home, fill):
    project = Project(home)
    project.set_key('cup', 2, Key(BOX))
    project.set_key('cup', 8, Key(None))
    assert not project.is_filled('cup')
    with pytest.raises(ProjectError, match='still being filled in'):
        project.labels()
    with pytest.raises(DataError, match='is not filled in'):
        read_labels(home)
    fill(project)
    boxes = project.labels().targets['cup'].boxes
    np.testing.assert_allclose(boxes[:8], np.tile(BOX, (8, 1)))
    assert np.isnan(boxes[8:]).all()
    # The next program need not track again, unless the keys have changed.
    again = Project(home)
    assert again.is_filled('cup')
    np.testing.assert_allclose(again.labels().targets['cup'].boxes, boxes)
    again.set_key('cup', 3, Key(BOX))
    assert not again.is_filled('cup') and not Project(home).is_filled('cup')
    # Undo needs no tracking either.
    again.undo()
    assert again.is_filled('cup')


def test_a_damaged_file_of_tracks_is_made_again(home, fill):
    project = Project(home)
    project.set_key('cup', 2, Key(BOX))
    fill(project)
    (home / TRACKS_FILE).write_text('{"cup": ')
    assert not Project(home).is_filled('cup') and list(Project(home).targets) == ['cup']


def test_a_track_of_old_keys_is_refused(home):
    project = Project(home)
    project.set_key('cup', 2, Key(BOX))
    old = project.keys_of('cup')
    project.set_key('cup', 3, Key(BOX))
    assert not project.set_track('cup', old, Track.unknown(COUNT))
    assert not project.is_filled('cup')


def test_a_tracker_that_cannot_be_made_is_reported(home, fill):
    project = Project(home)
    project.set_key('cup', 2, Key(BOX))

    def broken():
        raise ValueError('no weights')
    errors = fill(project, broken)
    assert errors == ["target 'cup' cannot be filled in: no weights"]


def test_a_project_is_a_data_set(home, fill):
    project = Project(home)
    project.set_key('cup', 0, Key(BOX))
    project.set_key('cup', 4, Key(shifted(0), True))
    project.set_key('cup', 9, Key(None))
    fill(project)
    assert detect_format(home) == 'project' and detect_format(home.parent) == 'project'
    (video,) = read_dataset(home)
    assert len(video.frames) == COUNT and video.frames[0].is_file()
    assert video.tracks[0].visible.tolist() == [1.] * 4 + [.5] * 5 + [0.] * 3


# ---- import and export ----

@pytest.mark.parametrize('form', WRITTEN)
def test_exports_are_imported_again(home, fill, form, tmp_path):
    project = Project(home)
    project.set_key('cup', 0, Key(BOX))
    project.set_key('cup', 6, Key(shifted(5), True))
    project.rename('cup', 'cup', 'mug')
    fill(project)
    content = export_zip(project.labels(), form)
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    if form == 'got10k':        # its reader needs the images
        assert any(name.endswith('absence.label')
                   for name in zipfile.ZipFile(io.BytesIO(content)).namelist())
        return
    if form == 'otb':
        assert any(name.endswith('groundtruth_rect.txt')
                   for name in zipfile.ZipFile(io.BytesIO(content)).namelist())
        (file,) = zipfile.ZipFile(io.BytesIO(content)).namelist()
        loaded = load_upload('groundtruth_rect.txt', zipfile.ZipFile(
            io.BytesIO(content)).read(file))
    else:
        loaded = load_upload(f'{form}.zip', content)
    create_project(tmp_path / 'other', 'walk', project.folder)
    other = Project(tmp_path / 'other')
    assert other.add_labels(loaded) == 1
    fill(other)
    (target,) = other.labels().targets.values()
    np.testing.assert_allclose(target.boxes, project.labels().targets['cup'].boxes, atol=.02)
    if form in ('cvat', 'coco'):
        assert [sorted(some.keys) for some in other.targets.values()] == [[0, 6]]
    if form in ('cvat', 'coco', 'mot'):
        assert target.occluded.tolist() == [False] * 6 + [True] * 6
        assert (list(other.targets), target.label) == (['cup'], 'mug')


def test_labels_of_another_video_are_refused(home):
    boxes = np.tile(BOX, (COUNT, 1))
    project = Project(home)

    def labels(count=COUNT, size=SIZE):
        return VideoLabels('x', size, frame_names(count), {
            'cup': TargetLabels.of(boxes[:count])})
    with pytest.raises(ProjectError, match='labels of 5 frames'):
        project.add_labels(labels(5))
    with pytest.raises(ProjectError, match='images of 8 x 8'):
        project.add_labels(labels(size=(8, 8)))
    assert project.add_labels(labels()) == project.add_labels(labels()) == 1
    assert list(project.targets) == ['cup', '1']


@pytest.mark.parametrize(('name', 'content', 'error'), [
    ('a.xml', b'<annotations>', 'a.xml: not XML'), ('a.zip', b'PK', 'a.zip: not a zip file'),
    ('a.exe', b'MZ', 'no labels in one of the formats'), ('', b'', 'no labels'),
    ('a.json', b'\xff', 'not a text')])
def test_uploads_that_cannot_be_read(name, content, error):
    with pytest.raises(ValueError, match=error) as caught:
        load_upload(name, content)
    assert '/tmp' not in str(caught.value)


def test_a_zip_file_writes_nothing_elsewhere(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('../../evil.txt', '1,1,1,1\n')
    with pytest.raises(ValueError, match='no labels|no images|no folder'):
        load_upload('a.zip', buffer.getvalue())


# ---- sources ----

def test_projects_of_videos_folders_and_projects(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(open_project(images)) == 'walk_labels'
    assert Project(tmp_path / 'walk_labels').frame_path(3) == \
        tmp_path / 'walk_labels/../walk/003.png'
    with video_writer(tmp_path / 'film.mp4', 25) as write:
        for number in range(COUNT):
            write(np.full((SIZE[1], SIZE[0], 3), 10 * number, np.uint8))
    home = open_project(tmp_path / 'film.mp4')
    project = Project(home)
    assert (len(project), project.size, str(home)) == (COUNT, SIZE, 'film_labels')
    assert abs(int(project.frames()[5].mean()) - 50) < 6
    project.set_key('', 0, Key(BOX))
    assert open_project(tmp_path / 'film.mp4') == home and list(Project(home).targets) == ['1']
    assert open_project(home) == home


def test_an_interrupted_extraction_is_made_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with video_writer(tmp_path / 'film.mp4', 25) as write:
        for _ in range(COUNT):
            write(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    calls = []

    def interrupted(path, image):
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        save_image(path, image)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('training.labels.project.save_image', interrupted)
        open_project(tmp_path / 'film.mp4')
    assert not (tmp_path / 'film_labels').exists()
    assert len(Project(open_project(tmp_path / 'film.mp4'))) == COUNT


def test_command_errors_are_one_line(tmp_path, capsys, monkeypatch, environment):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', environment['PYTHONPATH'])
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.mp4').write_text('hello')
    (tmp_path / 'old.db3').write_text('hello')
    for source, error in (('nothing', 'no such video, folder or bag'),
                          ('empty', 'no images, no bag and no project'),
                          ('text.mp4', 'cannot open video'), ('old.db3', 'old.db3')):
        assert main([source]) == 1
        errors = capsys.readouterr().err.splitlines()
        assert errors[-1].startswith('error: ') and error in errors[-1]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith('_labels')] == []
