# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Executors: results, order, retries, time limits; Ray on a local cluster of two nodes."""

from concurrent.futures import TimeoutError as Timeout
import importlib.util
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

import numpy as np
import pytest
from re3_core.io.images import save_image
from training import autolabel, evaluate
from training.data.base import DataError
from training.data.cache import cache_videos
from training.data.cache import main as cache_main
from training.data.otb import read_videos
from training.executor import (
    check_address,
    ExecutorError,
    ExecutorOptions,
    InlineExecutor,
    LocalExecutor,
    RayExecutor,
    WorkerDied,
)

ROOT = Path(__file__).resolve().parents[2]


# Functions that processes import by their names; this module is not a package there.
TASKS = '''
import os
from pathlib import Path
import time

def square(number):
    if number < 0:
        raise ValueError(f'{number} is below 0')
    return number * number, os.getpid()

def flaky(path):
    """Fail at the first try."""
    if not Path(path).exists():
        Path(path).touch()
        raise OSError('the first try')
    return 'done'

def slow(seconds):
    time.sleep(seconds)
    return 'done'

def die(path):
    """Die at the first try."""
    if not Path(path).exists():
        Path(path).touch()
        os._exit(7)
    return 'alive'

def mark(path):
    """Leave a file behind, of which the name is the process."""
    Path(path).mkdir(exist_ok=True)
    (Path(path) / str(os.getpid())).touch()
'''


@pytest.fixture(scope='session')
def tasks(tmp_path_factory):
    """Return the module of functions, which other processes can import."""
    folder = tmp_path_factory.mktemp('tasks')
    (folder / 'executor_tasks.py').write_text(TASKS)
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join(
        (str(folder), str(ROOT), *([before] if before else [])))
    os.environ['OMP_NUM_THREADS'] = '1'
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        import executor_tasks
        yield executor_tasks
    if before is None:
        del os.environ['PYTHONPATH']
    else:
        os.environ['PYTHONPATH'] = before


@pytest.fixture(scope='module')
def cluster(tasks):
    """Return the address of a Ray cluster of two nodes with one CPU each."""
    ray = pytest.importorskip('ray', reason='needs the extra ray')
    from ray.cluster_utils import Cluster
    cluster = Cluster(initialize_head=True, head_node_args={
        'num_cpus': 1, 'object_store_memory': 150 * 2 ** 20, 'include_dashboard': False})
    cluster.add_node(num_cpus=1, object_store_memory=150 * 2 ** 20)
    cluster.wait_for_nodes()
    # Connected once; `test_a_program_of_its_own` connects by itself.
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(params=['local', 'ray'])
def executor(request, tasks):
    """Return an executor of each kind, with two workers."""
    if request.param == 'local':
        made = LocalExecutor(2)
    else:
        made = RayExecutor(request.getfixturevalue('cluster'))
    with made:
        yield made


def test_results_come_in_the_order_of_the_items(executor, tasks):
    outcomes = list(executor.map(tasks.square, range(20)))
    assert [outcome.number for outcome in outcomes] == list(range(20))
    assert [outcome.result[0] for outcome in outcomes] == [k * k for k in range(20)]
    assert os.getpid() not in {outcome.result[1] for outcome in outcomes}
    assert executor.workers == 2


def test_failed_items_are_tried_again_and_reported(executor, tasks, tmp_path):
    (outcome,) = executor.map(tasks.flaky, [str(tmp_path / 'file')])
    assert (outcome.result, outcome.error, outcome.tries) == ('done', '', 2)
    first, bad, last = executor.map(tasks.square, [2, -1, 3], retries=2)
    assert (first.result[0], last.result[0]) == (4, 9)
    assert (bad.result, bad.error, bad.tries) == (None, '-1 is below 0', 3)


def test_a_process_that_dies_is_replaced(executor, tasks, tmp_path):
    with pytest.raises(WorkerDied):
        executor.result(executor.submit(tasks.die, str(tmp_path / 'one')))
    (outcome,) = executor.map(tasks.die, [str(tmp_path / 'two')])
    assert (outcome.result, outcome.tries) == ('alive', 2)


def test_a_call_that_takes_too_long_is_aborted(executor, tasks):
    with pytest.raises(Timeout):
        executor.result(executor.submit(tasks.slow, 600, .5))
    outcomes = list(executor.map(tasks.slow, [0, 0], timeout=100))
    assert [outcome.result for outcome in outcomes] == ['done'] * 2


def test_errors_keep_their_type(executor, tasks):
    with pytest.raises(ValueError, match='-3 is below 0'):
        executor.result(executor.submit(tasks.square, -3))


def test_processes_are_prepared_once(tasks, tmp_path, cluster):
    from functools import partial
    for make in (lambda prepare: LocalExecutor(2, prepare),
                 lambda prepare: RayExecutor(cluster, 2, prepare)):
        place = tmp_path / 'marks'
        shutil.rmtree(place, ignore_errors=True)
        with make(partial(tasks.mark, str(place))) as executor:
            used = {outcome.result[1] for outcome in executor.map(tasks.square, range(8))}
        assert used <= {int(path.name) for path in place.iterdir()}


def test_a_program_of_its_own(cluster, tasks):
    code = ('import sys; from training.executor import RayExecutor; import executor_tasks as t\n'
            'with RayExecutor(sys.argv[1]) as executor:\n'
            '    print([o.result[0] for o in executor.map(t.square, range(3))])\n'
            'import ray; print(ray.is_initialized())')
    result = subprocess.run([sys.executable, '-c', code, cluster], capture_output=True, text=True,
                            check=True)
    assert result.stdout.split('\n')[:2] == ['[0, 1, 4]', 'False']


def test_a_cluster_that_is_not_there_is_named():
    for address in ('127.0.0.1:1', 'ray://localhost:1'):
        with pytest.raises(ExecutorError, match=f'at {address}: Connection refused'):
            check_address(address)
    for address in ('', 'auto', 'local'):
        check_address(address)


def test_one_local_worker_is_this_process(tasks):
    with ExecutorOptions().make_executor() as executor:
        assert isinstance(executor, InlineExecutor)
        outcomes = list(executor.map(tasks.square, [3, -1]))
    assert outcomes[0].result == (9, os.getpid()) and outcomes[1].error == '-1 is below 0'
    with ExecutorOptions(workers=2).make_executor() as executor:
        assert isinstance(executor, LocalExecutor)


def test_executors_that_cannot_be_used(cluster, monkeypatch):
    with pytest.raises(ExecutorError, match='the Ray cluster has 2 CPUs'):
        RayExecutor(cluster, 3)
    with pytest.raises(ExecutorError, match='--address is for'):
        ExecutorOptions(address='x').make_executor()
    with pytest.raises(ExecutorError, match='at least 0'):
        ExecutorOptions(workers=-1).make_executor()


def test_without_ray_there_is_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ExecutorError, match='pip install'):
        RayExecutor()


# ---- what the commands do with them ----

@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Return a folder of three sequences of a textured square that moves."""
    root = tmp_path_factory.mktemp('videos')
    for number in range(3):
        rng = np.random.default_rng(number)
        ground = rng.integers(60, 120, (80, 120, 3), np.uint8)
        texture = rng.integers(0, 255, (24, 24, 3), np.uint8)
        lines = []
        for t in range(26):
            image = ground.copy()
            x, y = 10 + 2 * t, 20 + number
            image[y:y + 24, x:x + 24] = texture
            save_image(root / f'walk{number}' / 'img' / f'{t:04d}.png', image)
            lines.append(f'{x},{y},24,24\n')
        (root / f'walk{number}' / 'groundtruth_rect.txt').write_text(''.join(lines))
    return root


def contents(folder):
    """Return the content of all files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture
def options_of(tasks, request):
    """Return the options of all back ends; without those of Ray where it is missing."""
    options = [[], ['--workers', '2']]
    if importlib.util.find_spec('ray') is not None:
        options.append(['--executor', 'ray', '--address', request.getfixturevalue('cluster')])
    return options


def test_labels_are_the_same_everywhere(options_of, videos, tmp_path, capsys):
    results = []
    for number, options in enumerate(options_of):
        output = tmp_path / str(number)
        assert autolabel.main(['--videos', str(videos), '--output', str(output), '--trackers',
                               'opencv:mosse', '--objects', '2', '--min-length', '20',
                               *options]) == 0
        results.append(contents(output))
    assert any('groundtruth.txt' in name for name in results[0])
    assert all(result == results[0] for result in results)


def test_caches_are_the_same_everywhere(options_of, videos, tmp_path, capsys):
    results = []
    for number, options in enumerate(options_of):
        assert cache_main([str(videos), '--cache', str(tmp_path / str(number)), *options]) == 0
        results.append({name: content for name, content in contents(
            tmp_path / str(number)).items() if not name.startswith('.')})
    assert all(result == results[0] for result in results) and len(results[0]) == 3


def test_a_video_that_cannot_be_read_is_named(videos, tmp_path, tasks):
    shutil.copytree(videos, tmp_path / 'videos')
    (tmp_path / 'videos/walk1/img/0003.png').write_bytes(b'no image')
    with LocalExecutor(2) as executor, pytest.raises(
            DataError, match=r'walk1: .*cannot decode this image.*\(2 tries\)'):
        cache_videos(read_videos(tmp_path / 'videos'), tmp_path / 'cache', executor=executor,
                     retries=1)
    assert [path.name for path in (tmp_path / 'cache').iterdir()
            if not path.name.startswith('.')] == []


def test_evaluations_are_the_same_everywhere(options_of, videos, tmp_path, capsys):
    reports = []
    for number, options in enumerate(options_of):
        path = tmp_path / f'{number}.json'
        assert evaluate.main(['--dataset', str(videos), '--model', 'opencv:mosse', '--starts', '2',
                              '--json', str(path), *options]) == 0
        reports.append(json.loads(path.read_text()))
    assert all(report['trackers'] == reports[0]['trackers'] for report in reports)
