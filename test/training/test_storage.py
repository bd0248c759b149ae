# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Data and results in object stores: fsspec's memory, and local servers of S3 and GCS."""

from functools import partial
from http.server import ThreadingHTTPServer
import json
import subprocess
import sys
from threading import Thread
import time

import numpy as np
import pytest
from re3_core.io.images import save_image
from training import autolabel, evaluate
from training.storage import is_url, local_copy, local_output, StorageError, Store

PATIENCE = 60


@pytest.fixture(scope='module')
def s3():
    """Return the URL of a bucket of a local S3 server."""
    pytest.importorskip('moto', reason='needs moto[server]')
    pytest.importorskip('flask', reason='needs moto[server]')
    pytest.importorskip('s3fs', reason='needs the extra storage')
    with subprocess.Popen([sys.executable, '-u', '-c', 'from moto.server import main; main()',
                           '-p', '0'], stderr=subprocess.PIPE, text=True) as server:
        address = ''
        for line in server.stderr:
            if 'Running on' in line:
                address = line.split()[-1]
                break
        assert address, 'the server did not start'
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (('AWS_ENDPOINT_URL', address), ('AWS_ACCESS_KEY_ID', 'test'),
                                ('AWS_SECRET_ACCESS_KEY', 'test'),
                                ('AWS_DEFAULT_REGION', 'us-east-1')):
                patch.setenv(name, value)
            import s3fs
            s3fs.S3FileSystem.clear_instance_cache()
            fs = s3fs.S3FileSystem()
            end = time.monotonic() + PATIENCE
            while True:
                try:
                    fs.mkdir('labels')
                    break
                except OSError:
                    assert time.monotonic() < end
            yield 's3://labels'
            s3fs.S3FileSystem.clear_instance_cache()
        server.kill()


@pytest.fixture(scope='module')
def gs():
    """Return the URL of a bucket of a local server of Google Cloud Storage."""
    emulator = pytest.importorskip('gcp_storage_emulator.server',
                                   reason='needs gcp-storage-emulator')
    gcsfs = pytest.importorskip('gcsfs', reason='needs the extra storage')
    storage = emulator.Storage(use_memory_fs=True)
    with (ThreadingHTTPServer(('localhost', 0), partial(emulator.RequestHandler, storage))
          as server, pytest.MonkeyPatch.context() as patch):
        Thread(target=server.serve_forever).start()
        patch.setenv('STORAGE_EMULATOR_HOST', f'http://localhost:{server.server_port}')
        # The emulator knows one kind of buckets only, and no gRPC to ask for it.
        patch.setenv('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')
        gcsfs.GCSFileSystem.clear_instance_cache()
        gcsfs.GCSFileSystem().mkdir('labels')
        yield 'gs://labels'
        gcsfs.GCSFileSystem.clear_instance_cache()
        server.shutdown()


@pytest.fixture(params=['memory', 's3', 'gs', 'local'])
def place(request, tmp_path):
    """Return an empty place of each kind."""
    if request.param == 'local':
        return str(tmp_path / 'place')
    if request.param in ('s3', 'gs'):
        return f'{request.getfixturevalue(request.param)}/{tmp_path.name}'
    import fsspec
    fsspec.filesystem('memory').store.clear()
    return f'memory://{tmp_path.name}'


def test_files_are_written_and_read_back(place, tmp_path):
    store = Store(place)
    assert store.is_empty() and not store.exists('a/b.txt')
    store.write('a/b.txt', b'hello')
    assert store.exists('a/b.txt') and not store.exists('a') and store.read('a/b.txt') == b'hello'
    assert not store.is_empty()
    store.replace_folder('a', {'c.txt': b'new', 'd/e.txt': b'deep'})
    assert not store.exists('a/b.txt') and store.read('a/d/e.txt') == b'deep'
    home = local_copy(place, tmp_path / 'cache')
    assert {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob('*.txt')} \
        == {'a/c.txt': b'new', 'a/d/e.txt': b'deep'}
    assert local_copy(f'{place}/a/c.txt', tmp_path / 'cache').read_bytes() == b'new'


def test_only_what_has_changed_is_copied_again(place, tmp_path, monkeypatch):
    if not is_url(place):
        return
    store = Store(place)
    store.write_files({'a.txt': b'one', 'b.txt': b'two', 'c.txt': b'three'})
    home = local_copy(place, tmp_path / 'cache')
    times = {path.name: path.stat().st_mtime_ns for path in home.glob('*.txt')}
    store.write('b.txt', b'a longer one')
    store.replace_folder('c.txt', {})
    assert local_copy(place, tmp_path / 'cache') == home
    assert {path.name for path in home.glob('*.txt')} == {'a.txt', 'b.txt'}
    assert (home / 'b.txt').read_bytes() == b'a longer one'
    assert (home / 'a.txt').stat().st_mtime_ns == times['a.txt']


def test_results_appear_after_a_clean_end(place):
    with pytest.raises(ValueError, match='wrong'), local_output(place) as folder:
        folder.mkdir(parents=True)
        (folder / 'half.txt').write_text('half')
        raise ValueError('wrong')
    assert not is_url(place) or Store(place).is_empty()
    with local_output(place) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'whole.txt').write_text('whole')
    assert Store(place).read('whole.txt') == b'whole'


def test_places_that_cannot_be_read_are_named(place, tmp_path):
    if is_url(place):
        with pytest.raises(StorageError, match='no such file or folder') as caught:
            local_copy(f'{place}/nothing', tmp_path)
        assert '\n' not in str(caught.value)
    with pytest.raises(StorageError, match='nostore://x'):
        local_copy('nostore://x/y', tmp_path)


def write_walk(folder, count=26):
    """Write an OTB sequence of a textured square that moves."""
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 120, (80, 120, 3), np.uint8)
    texture = rng.integers(0, 255, (24, 24, 3), np.uint8)
    lines = []
    for t in range(count):
        image = ground.copy()
        image[20:44, 10 + 2 * t:34 + 2 * t] = texture
        save_image(folder / 'img' / f'{t:04d}.png', image)
        lines.append(f'{10 + 2 * t},20,24,24\n')
    (folder / 'groundtruth_rect.txt').write_text(''.join(lines))


def test_commands_read_from_and_write_to_a_store(place, tmp_path, monkeypatch, capsys):
    """The results are those with local folders."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    write_walk(tmp_path / 'videos' / 'walk')
    store = Store(place)
    for path in (tmp_path / 'videos').rglob('*'):
        if path.is_file():
            store.write(f'videos/{path.relative_to(tmp_path / "videos").as_posix()}',
                        path.read_bytes())
    common = ['--trackers', 'opencv:mosse', '--objects', '2', '--min-length', '20']
    assert autolabel.main(['--videos', str(tmp_path / 'videos'), '--output',
                           str(tmp_path / 'out'), *common]) == 0
    assert autolabel.main(['--videos', f'{place}/videos', '--output', f'{place}/out',
                           *common]) == 0
    expected = {path.relative_to(tmp_path / 'out').as_posix(): path.read_bytes()
                for path in (tmp_path / 'out').rglob('*') if path.is_file()}
    assert any(name.endswith('groundtruth.txt') for name in expected)
    for name, content in expected.items():
        assert store.read(f'out/{name}') == content
    # What is done is not done again.
    monkeypatch.setattr(autolabel, '_label_video', None)
    assert autolabel.main(['--videos', f'{place}/videos', '--output', f'{place}/out',
                           *common]) == 0
    assert evaluate.main(['--dataset', f'{place}/videos', '--model', 'opencv:mosse', '--starts',
                          '1', '--start-timeout', '0', '--json', f'{place}/report.json']) == 0
    assert json.loads(store.read('report.json'))['sequences'] == {'walk': 26}
