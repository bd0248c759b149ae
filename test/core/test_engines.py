# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Engines: the same tracks with all of them, without torch, and what happens when one fails."""

import importlib.util
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from re3_core import Tracker
from re3_core.crops import crop_arrays
from re3_core.engines import (
    EngineError,
    EngineFailure,
    files,
    make_engine,
    PACKAGED,
    Source,
)
from re3_core.engines.torch_engine import TorchEngine
from re3_core.model import Crops, DEFAULT_MODEL, ModelInfo
from re3_core.networks import GoturnLiteNet, Re3LiteNet, Re3Net
from re3_core.weights import load_network, save_network
import torch

ROOT = Path(__file__).parents[2]
COMPILED = [pytest.param(name, marks=pytest.mark.skipif(
    importlib.util.find_spec(name) is None or importlib.util.find_spec('onnx') is None,
    reason=f'{name} or onnx is not installed')) for name in ('onnxruntime', 'openvino')]
needs_onnx = pytest.mark.skipif(importlib.util.find_spec('onnx') is None,
                                reason='onnx is not installed')
BOXES = {'a': (10, 10, 60, 70), 'b': (140, 90, 158, 119), 'c': (0, 0, 160, 120)}


def tiny_networks():
    """Return one small network of each kind: with and without memory, template, confidence."""
    torch.manual_seed(0)
    lite = Re3LiteNet(width=.25, embedding=8, hidden=16, backbone='efficientnet_lite0',
                      aspect=.5)
    with torch.no_grad():
        lite.head.votes.weight.normal_(0, .2)
    return {'re3_lite': lite, 're3': Re3Net(channels=(8, 16, 16, 16, 8), fc=32, hidden=16),
            'goturn_lite': GoturnLiteNet(width=.25, embedding=8, fc=(32,))}


@pytest.fixture(scope='module')
def networks():
    return tiny_networks()


@pytest.fixture(scope='module')
def exported(networks, tmp_path_factory):
    """Return the folder with the graph of a tiny network, by its name."""
    pytest.importorskip('onnx')
    from re3_core.export import export_graph
    folders = {}
    for name, network in networks.items():
        folders[name] = tmp_path_factory.mktemp(name)
        export_graph(network, folders[name])
    return folders


@pytest.fixture(scope='module')
def frames():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (120, 160, 3), dtype=np.uint8) for _ in range(40)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Use a cache folder of the test's own."""
    monkeypatch.setenv('RE3_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def crops_of(network, frame, boxes):
    boxes = np.array(boxes, float)
    return Crops(*(crop_arrays([frame] * len(boxes), spec.region(boxes), spec.size)
                   for spec in (network.previous_crop, network.current_crop)))


@pytest.mark.parametrize('engine', COMPILED)
@pytest.mark.parametrize('name', ['re3_lite', 're3', 'goturn_lite'])
@pytest.mark.parametrize('count', [1, 3])
def test_steps_equal_those_of_torch(networks, exported, frames, engine, name, count):
    network, boxes = networks[name], list(BOXES.values())[:count]
    compiled, _ = make_engine(engine, Source(weights=exported[name]), precision='float32')
    reference = TorchEngine(network)
    assert ModelInfo.of(compiled.network) == ModelInfo.of(network)
    outputs = [runner.start(crops_of(network, frames[0], boxes))
               for runner in (reference, compiled)]
    for frame in frames[:4]:
        for expected, output in [outputs]:
            np.testing.assert_allclose(output.boxes, expected.boxes, atol=1e-3)
            np.testing.assert_allclose(output.confidences, expected.confidences, atol=1e-3)
        outputs = [runner.step(crops_of(network, frame, boxes), output.states)
                   for runner, output in zip((reference, compiled), outputs, strict=True)]
    assert len(outputs[1].states) == count


@pytest.mark.parametrize('engine', COMPILED)
def test_targets_are_added_and_removed(networks, exported, frames, engine):
    trackers = [Tracker(network=networks['re3_lite']),
                Tracker(weights=exported['re3_lite'], engine=engine, precision='float32',
                        threads=1)]
    for tracker in trackers:
        tracker.init('a', frames[0], BOXES['a'])
    for index, frame in enumerate(frames[1:]):
        if index in (3, 6):
            for tracker in trackers:
                tracker.init('bc'[index // 6], frame, BOXES['bc'[index // 6]])
        if index == 9:
            for tracker in trackers:
                tracker.remove('a')
        expected, tracks = (tracker.update(frame) for tracker in trackers)
        assert tuple(tracks) == tuple(expected)
        for name in tracks:
            np.testing.assert_allclose(tracks[name].box, expected[name].box, atol=.05)
            assert tracks[name].lost == expected[name].lost


@pytest.mark.parametrize('engine', COMPILED)
def test_tracking_does_not_need_torch(exported, tmp_path, engine):
    """In a process in which torch and onnx cannot be imported."""
    code = (
        'import sys, json\n'
        'sys.modules.update(torch=None, onnx=None, safetensors=None)\n'
        'import numpy as np\n'
        'from re3_core import Tracker\n'
        f'tracker = Tracker(weights={str(exported["re3_lite"])!r})\n'
        'frames = np.random.default_rng(0).integers(0, 255, (6, 120, 160, 3), np.uint8)\n'
        'tracker.init("a", frames[0], (10, 10, 60, 70))\n'
        'for frame in frames[1:]:\n'
        '    track = tracker.update(frame)["a"]\n'
        'print(json.dumps([tracker.engine, track.box.tolist()]))\n')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    if engine == 'onnxruntime':     # 'auto' takes it where there is no OpenVINO
        code = code.replace('torch=None', 'torch=None, openvino=None')
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                            timeout=300, env=environment, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    name, box = json.loads(result.stdout)
    assert name == engine or engine == 'openvino'
    assert np.isfinite(box).all()


def test_what_needs_torch_is_refused_without_it(tmp_path):
    code = ('import sys; sys.modules["torch"] = None\n'
            'from re3_core import Tracker\n'
            'Tracker(engine="torch")\n')
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                            timeout=300, env={**os.environ, 'PYTHONPATH': str(ROOT)},
                            cwd=tmp_path)
    assert 'torch needs the package torch, which is not installed' in result.stderr


# The choice of an engine ---------------------------------------------------------------------


@pytest.mark.parametrize('engine', COMPILED)
def test_signals_are_handled_after_an_engine_was_released_in_another_thread(exported, engine):
    code = f"""
import os, signal, threading
from re3_core import Tracker
trackers = [Tracker(weights={str(exported['re3_lite'])!r}, engine={engine!r})]
thread = threading.Thread(target=trackers.clear)
thread.start()
thread.join()
signal.signal(signal.SIGUSR1, lambda number, frame: print('handled'))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    result = subprocess.run([sys.executable, '-X', 'faulthandler', '-c', code], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, 'handled\n'), result.stderr


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='needs /proc')
@pytest.mark.parametrize('engine', COMPILED)
def test_released_engines_leave_no_threads_or_memory(exported, engine):
    """As a node does that is cleaned up and configured again."""
    code = f"""
import gc, os
from pathlib import Path
import numpy as np
from re3_core import Tracker
frame = np.zeros((120, 160, 3), np.uint8)
for cycle in range(8):
    tracker = Tracker(weights={str(exported['re3_lite'])!r}, engine={engine!r}, threads=2)
    tracker.init('a', frame, (10, 10, 60, 70))
    tracker.update(frame)
    del tracker
    gc.collect()
    if cycle in (2, 7):
        [line] = [line for line in Path('/proc/self/status').read_text().splitlines()
                  if line.startswith('VmRSS')]
        print(len(os.listdir('/proc/self/task')), line.split()[1])
"""
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True,
                            text=True, check=False)
    assert result.returncode == 0, result.stderr
    (before, memory), (after, memory_after) = (
        map(int, line.split()) for line in result.stdout.splitlines())
    assert after <= before
    assert memory_after - memory < 20_000      # kB


@pytest.fixture
def without(monkeypatch):
    """Return a function that hides installed packages."""
    def hide(*packages):
        found = importlib.util.find_spec
        monkeypatch.setattr('re3_core.engines.find_spec',
                            lambda name: None if name in packages else found(name))
    return hide


def test_engine_that_is_not_installed_is_named(without):
    without('openvino')
    with pytest.raises(EngineError, match='openvino needs the package openvino'):
        Tracker(engine='openvino')


def test_auto_falls_back_to_torch_and_says_why(without):
    without('openvino', 'onnxruntime')
    tracker = Tracker()
    assert tracker.engine == 'torch' and tracker.precision == 'float32'
    assert 'openvino needs' in tracker.engine_reason
    assert 'onnxruntime needs' in tracker.engine_reason


def test_a_network_in_torch_stays_there(networks):
    tracker = Tracker(network=networks['re3_lite'])
    assert tracker.engine == 'torch' and str(tracker.device) == 'cpu'


def test_auto_without_any_engine_lists_them(without):
    without('openvino', 'onnxruntime', 'torch')
    with pytest.raises(EngineError, match='no engine can be used: .*torch needs'):
        Tracker()


@pytest.mark.parametrize('engine', COMPILED)
@pytest.mark.parametrize(('settings', 'text'), [
    ({'precision': 'float16'}, 'runs in float32, .*not in float16'),
    ({'precision': 'int8'}, 'holds no graph of a model for .* in int8'),
    ({'device': 'cuda'}, 'on the CPU'),
    ({'model': 'goturn'}, 'holds no graph of goturn')])
def test_settings_that_an_engine_lacks_are_named(exported, engine, settings, text):
    with pytest.raises(EngineError, match=text):
        Tracker(weights=exported['re3_lite'], engine=engine, **settings)


def test_tensorrt_needs_a_build_of_onnxruntime(exported):
    onnxruntime = pytest.importorskip('onnxruntime')
    if 'TensorrtExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('TensorRT is installed')
    with pytest.raises(EngineError, match='tensorrt needs a build of onnxruntime'):
        Tracker(weights=exported['re3_lite'], engine='tensorrt')


# The packaged graphs -------------------------------------------------------------------------


def packaged_manifests():
    """Return the manifests of packaged graphs by the name of the model."""
    return {path.name.partition('.')[0]: path for path in PACKAGED.glob('*.manifest.json')}


def copy_packaged(folder):
    """Copy the default model's packaged weights and graphs into a folder."""
    manifest = packaged_manifests()[DEFAULT_MODEL]
    for name in (manifest.name, *json.loads(manifest.read_text())):
        shutil.copy(PACKAGED / name, folder)


@needs_onnx
def test_packaged_graphs_are_those_of_the_packaged_weights():
    import onnx
    from re3_core.export import weights_key
    manifests = packaged_manifests()
    assert DEFAULT_MODEL in manifests
    for model in manifests:
        key = weights_key(load_network(model))
        for precision in ('float32', 'int8'):
            path = files.packaged_file(PACKAGED, model, [precision]).path
            [text] = [item.value for item in onnx.load(
                path, load_external_data=False).metadata_props]
            metadata = json.loads(text)
            assert (metadata['weights'], metadata['precision']) == (key, precision), (
                f'{path.name} is of other weights; make it again: make graphs')


def test_packaged_graphs_take_less_space_than_the_weights():
    for model in packaged_manifests():
        graphs = sum(path.stat().st_size for path in PACKAGED.glob(f'{model}.*.onnx'))
        assert graphs < (PACKAGED / f'{model}.safetensors').stat().st_size


@pytest.mark.parametrize('engine', COMPILED)
@pytest.mark.parametrize('precision', ['float32', 'int8'])
def test_packaged_graphs_need_no_export(monkeypatch, cache, frames, engine, precision):
    monkeypatch.setattr('re3_core.engines._cached_file', lambda source: pytest.fail('exported'))
    tracker = Tracker(engine=engine, precision=precision, threads=1)
    expected = Tracker(engine='torch').network
    assert ModelInfo.of(tracker.network) == ModelInfo.of(expected)
    boxes = list(BOXES.values())[:2]
    crops = crops_of(expected, frames[0], boxes)
    outputs = [one.start(crops).boxes for one in (TorchEngine(load_network()), tracker._engine)]
    np.testing.assert_allclose(*outputs, atol=1e-3 if precision == 'float32' else .1)
    assert not cache.exists()


def test_halves_at_a_time_equal_all_at_once(frames):
    """OpenVINO in int8 with two threads; the graph is that of the package."""
    pytest.importorskip('openvino')
    boxes = [*BOXES.values(), (30, 20, 70, 90), (100, 10, 150, 60)]
    outputs, engines = [], []
    for threads in (1, 2):
        engine, _ = make_engine('openvino', Source('re3_lite'), precision='int8', threads=threads)
        output = engine.start(crops_of(engine.network, frames[0], boxes))
        for frame in frames[1:4]:
            regions = engine.network.current_crop.region(np.array(boxes, float))
            size = engine.network.current_crop.size
            cropped = engine.crop([frame] * len(boxes), regions, size)
            crops = crops_of(engine.network, frame, boxes)
            np.testing.assert_array_equal(cropped, crops.current)
            output = engine.step(crops, output.states)
        outputs.append(output)
        engines.append(engine)
    one, two = outputs
    assert two.boxes.shape == (5, 4) and two.confidences.shape == (5,) and len(two.states) == 5
    np.testing.assert_allclose(two.boxes, one.boxes, atol=1e-3)
    np.testing.assert_allclose(two.confidences, one.confidences, atol=1e-3)
    for first, second in zip(one.states, two.states, strict=True):
        for mine, theirs in zip(first.memory, second.memory, strict=True):
            np.testing.assert_allclose(theirs, mine, atol=.02)
    assert [engine._second_half is None for engine in engines] == [True, False]


def test_a_failure_in_the_second_half_is_that_of_the_engine(frames):
    pytest.importorskip('openvino')
    engine, _ = make_engine('openvino', Source('re3_lite'), precision='int8', threads=2)
    crops = crops_of(engine.network, frames[0], list(BOXES.values()))
    states = engine.start(crops).states
    run = engine._graph.run
    engine._graph = engine._graph._replace(
        run=lambda values: run(values) if len(values['current']) == 1 else 1 / 0)
    with pytest.raises(EngineFailure, match='openvino failed: division by zero'):
        engine.step(crops, states)      # one target in the first half, two in the second


@pytest.mark.parametrize('changed', ['weights', 'graph'])
def test_packaged_graphs_of_other_weights_are_not_used(monkeypatch, tmp_path, changed):
    pytest.importorskip('onnxruntime')
    copy_packaged(tmp_path)
    monkeypatch.setattr('re3_core.engines.PACKAGED', tmp_path)
    assert Tracker(engine='onnxruntime').precision == 'int8'
    path = tmp_path / {'weights': f'{DEFAULT_MODEL}.safetensors',
                       'graph': f'{DEFAULT_MODEL}.int8.onnx'}[changed]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match='manifest.json does not match the files beside it'):
        Tracker(engine='onnxruntime')
    assert Tracker().engine == 'torch'


@needs_onnx
@pytest.mark.parametrize('model', ['re3_lite', 'goturn_lite'])
def test_packaged_graphs_are_made_by_one_command(networks, frames, monkeypatch, tmp_path, capsys,
                                                 model):
    pytest.importorskip('onnxruntime')
    from re3_core import export
    videos, weights = tmp_path / 'video', tmp_path / f'{model}.safetensors'
    videos.mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(videos / f'{index:02}.png'), frame)
    save_network(networks[model], weights)
    monkeypatch.setattr(export, 'weights_path', lambda name: weights)
    assert export.main(['--packaged', '--model', model, '--calibration', str(videos)]) == 0
    assert f'{model}.int8.onnx' in capsys.readouterr().out
    monkeypatch.setattr('re3_core.engines.PACKAGED', tmp_path)
    network = load_network(weights=weights)
    crops = crops_of(network, frames[0], list(BOXES.values()))
    expected = TorchEngine(network).start(crops).boxes
    for precision, tolerance in (('float32', 1e-3), ('int8', .2)):
        engine, _ = make_engine('onnxruntime', Source(model), precision=precision)
        np.testing.assert_allclose(engine.start(crops).boxes, expected, atol=tolerance)
    step = tmp_path / f'{model}.float32.onnx'
    assert weights.name.encode() in step.read_bytes()       # it refers to the weights


# Damaged files and the cache -----------------------------------------------------------------


@pytest.mark.parametrize('engine', COMPILED)
@pytest.mark.parametrize('damage', ['cut', 'empty', 'text', 'foreign', 'old'])
def test_damaged_files_are_refused_by_name(exported, tmp_path, engine, damage):
    folder = tmp_path / 'model'
    folder.mkdir()
    for path in exported['re3_lite'].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    step = folder / 're3_lite.float32.onnx'
    content = step.read_bytes()
    if damage in ('foreign', 'old'):
        import onnx
        model = onnx.load(step)
        if damage == 'foreign':
            del model.metadata_props[:]
        else:
            model.metadata_props[0].value = json.dumps({'format': files.FORMAT - 1})
        onnx.save(model, step)
    else:
        step.write_bytes({'cut': content[:len(content) // 2], 'empty': b'',
                          'text': b'not a model'}[damage])
    with pytest.raises(EngineError, match='re3_lite.float32.onnx') as raised:
        Tracker(weights=folder, engine=engine)
    assert '\n' not in str(raised.value)
    if damage == 'old':
        assert f'has format 1, this release reads {files.FORMAT}; export' in str(raised.value)


@pytest.mark.parametrize('engine', ['auto', *COMPILED])
@pytest.mark.parametrize('settings', [{}, {'model': 're3_lite'}])
def test_graphs_of_the_first_generation_are_refused(tmp_path, engine, settings):
    for part in ('step', 'similarity', 'rescore'):
        (tmp_path / f're3_lite.{part}.float32.onnx').write_bytes(b'graph')
    with pytest.raises(ValueError) as raised:
        Tracker(weights=tmp_path, engine=engine, **settings)
    assert str(raised.value) == (
        f'{tmp_path}/re3_lite.step.float32.onnx belongs to the first generation of re3_lite, '
        'which this release no longer runs; use the packaged weights, or fine-tune or train new '
        'ones')


@pytest.mark.parametrize('engine', COMPILED[:1])    # the files are the same for all
def test_a_weights_file_is_exported_once(networks, frames, tmp_path, cache, engine):
    weights = tmp_path / 'tiny.safetensors'
    save_network(networks['re3_lite'], weights)
    Tracker(weights=weights, engine=engine)
    [folder] = cache.iterdir()
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    tracker = Tracker(weights=weights, engine=engine)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    # A damaged one is made again.
    step = folder / 're3_lite.float32.onnx'
    content = step.read_bytes()
    step.write_bytes(content[:1000])
    tracker = Tracker(weights=weights, engine=engine)
    assert step.read_bytes() == content
    tracker.init('a', frames[0], BOXES['a'])
    assert [path.name for path in cache.iterdir()] == [folder.name]


@needs_onnx
def test_other_weights_have_another_place_in_the_cache(networks):
    from re3_core.export import weights_key
    network = networks['re3_lite']
    key = weights_key(network)
    assert weights_key(network) == key
    with torch.no_grad():
        changed = network.inference_copy()
        next(iter(changed.head.parameters())).data = next(changed.head.parameters()).data + 1
    assert weights_key(changed) != key


def test_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / 'file').write_text('no folder')
    monkeypatch.setenv('RE3_CACHE', str(tmp_path / 'file' / 'cache'))
    with pytest.raises(EngineError, match='cannot be written .*set RE3_CACHE'):
        files.cached_folder('model', lambda folder: None)


def test_cached_folder_is_whole_or_not_there(cache):
    def broken(folder):
        (folder / 'part').write_text('half')
        raise KeyError('stopped')
    with pytest.raises(KeyError):
        files.cached_folder('model', broken)
    assert list(cache.iterdir()) == []


# Failures while tracking ---------------------------------------------------------------------


@pytest.mark.parametrize('failure', ['error', 'nan'])
def test_an_engine_that_fails_is_replaced(networks, exported, frames, monkeypatch, failure):
    pytest.importorskip('onnxruntime')
    engine, _ = make_engine('onnxruntime', Source(weights=exported['re3_lite']))
    tracker = Tracker(network=networks['re3_lite'], engine=engine)
    for name, box in BOXES.items():
        tracker.init(name, frames[0], box)
    before = tracker.update(frames[1])
    run = engine._graph.run

    def fail(values):
        if failure == 'error':
            raise RuntimeError('device lost')
        return {**run(values), 'boxes': np.full((len(values['current']), 4), np.nan)}
    engine._graph = engine._graph._replace(run=fail)
    tracks = tracker.update(frames[2], ['a', 'b'])
    assert tuple(tracks) == ('a', 'b')
    for name, track in tracks.items():
        assert track.lost and track.confidence <= tracker.lost_confidence
        np.testing.assert_allclose(track.box, before[name].box, atol=1e-3)
    assert not tracker.track('c').lost or before['c'].lost
    assert tracker.engine == 'torch'
    assert ('device lost' if failure == 'error' else 'not finite') in tracker.engine_problem
    assert 'torch runs instead' in tracker.engine_problem
    after = tracker.update(frames[3])       # goes on from the other engine's states
    assert all(np.isfinite(track.box).all() for track in after.values())


def test_a_failing_engine_without_another_is_an_error(exported, frames, without):
    pytest.importorskip('onnxruntime')
    engine, _ = make_engine('onnxruntime', Source(weights=exported['re3_lite']))
    tracker = Tracker(engine=engine)
    tracker.init('a', frames[0], BOXES['a'])
    engine._graph = engine._graph._replace(run=lambda values: 1 / 0)
    without('torch', 'openvino')
    with pytest.raises(EngineFailure, match='onnxruntime failed: .*torch needs'):
        tracker.update(frames[1])
    assert tracker.ids == ('a',)


# Export --------------------------------------------------------------------------------------


@needs_onnx
@pytest.mark.parametrize('name', ['re3_lite', 're3', 'goturn_lite'])
def test_graphs_have_operators_of_tensorrt_and_old_versions(exported, name):
    import onnx
    from re3_core.export import IR_VERSION, OPSET, unsupported_by_tensorrt
    [path] = exported[name].glob('*.onnx')
    assert unsupported_by_tensorrt(path) == []
    model = onnx.load(path)
    assert model.ir_version <= IR_VERSION
    assert [item.version for item in model.opset_import if not item.domain] == [OPSET]
    # TensorRT takes uint8 inputs only where the first operator is a Cast.
    images = {item.name for item in model.graph.input
              if item.type.tensor_type.elem_type == onnx.TensorProto.UINT8}
    assert images
    for node in model.graph.node:
        assert node.op_type == 'Cast' or not images & set(node.input)


@needs_onnx
def test_weights_in_float16_take_half_the_space_without_a_loss(exported, tmp_path):
    from re3_core.export import export_graph
    network = tiny_networks()['re3_lite']
    size = (exported['re3_lite'] / 're3_lite.float32.onnx').stat().st_size
    network.half().float()
    half = export_graph(network, tmp_path).path.stat().st_size
    assert half < .6 * size


@needs_onnx
def test_int8_is_calibrated_on_videos_and_stays_close(networks, exported, frames, tmp_path):
    pytest.importorskip('onnxruntime')
    from re3_core.engines.files import find_file
    from re3_core.quantize import calibration_inputs, quantize_graph
    network, boxes = networks['re3_lite'], list(BOXES.values())
    graph = find_file(exported['re3_lite'], None, ['float32'])
    quantize_graph(graph, tmp_path, calibration_inputs(graph, [frames[:20]]))
    tracker = Tracker(weights=tmp_path, engine='onnxruntime')
    assert tracker.precision == 'int8'
    crops = crops_of(network, frames[0], boxes)
    expected, output = (engine.start(crops) for engine in (TorchEngine(network), tracker._engine))
    difference = np.abs(output.boxes - expected.boxes)
    assert 0 < difference.max() < .1    # of the crop's side; quantized, but no other boxes
    np.testing.assert_allclose(output.confidences, expected.confidences, atol=.1)


def test_int8_without_videos_is_refused(tmp_path, capsys):
    pytest.importorskip('onnx')
    from re3_core.export import main
    assert main(['--precision', 'int8', '--output', str(tmp_path / 'exported')]) == 1
    assert '--calibration' in capsys.readouterr().err
    assert not (tmp_path / 'exported').exists()


def test_export_writes_a_folder_for_the_tracker(networks, tmp_path, capsys):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    from re3_core.export import main
    weights, folder = tmp_path / 'tiny.safetensors', tmp_path / 'exported'
    save_network(networks['re3_lite'], weights)
    assert main(['--weights', str(weights), '--output', str(folder)]) == 0
    assert 're3_lite.float32.onnx' in capsys.readouterr().out
    assert Tracker(weights=folder, engine='onnxruntime').network.name == 're3_lite'
