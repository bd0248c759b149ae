# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

import subprocess
import sys

import numpy as np
import pytest
from re3_core import load_network
from re3_core.convert import detect_kind, KINDS, read_checkpoint
from re3_core.convert.__main__ import main
from re3_core.convert.layouts import Kind, re3_pytorch
from re3_core.convert.sources import open_tensorflow, read_tensorflow
from re3_core.networks import Crops, Re3Net
import torch


class FakeReader:
    """What `tf.train.load_checkpoint` returns, as far as it is used."""

    def __init__(self, variables):
        self.variables = variables
        self.read = []

    def get_variable_to_shape_map(self):
        return {name: list(value.shape) for name, value in self.variables.items()}

    def get_tensor(self, name):
        self.read.append(name)
        return self.variables[name]


WEIGHTS = {'re3/conv1/W_conv': np.arange(6.).reshape(1, 1, 2, 3), 're3/conv1/b_conv': np.ones(3)}
TRAINING = ['re3/conv1/W_conv/Adam', 're3/conv1/W_conv/Adam_1', 're3/conv1/b_conv/Adam',
            'beta1_power', 'beta2_power', 'global_step', 'Variable', 'train/beta1_power_1']


def same(tensors, expected):
    assert set(tensors) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], value)


def test_tensorflow_weights_are_read_without_the_optimizers_state():
    reader = FakeReader(WEIGHTS | {name: np.zeros(2) for name in TRAINING})
    same(read_tensorflow(reader), WEIGHTS)
    assert not set(reader.read) & set(TRAINING)


def test_real_tensorflow_checkpoint(tmp_path):
    tensorflow = pytest.importorskip('tensorflow', reason='tensorflow is not installed')
    v1 = tensorflow.compat.v1
    with tensorflow.Graph().as_default(), v1.Session() as session:
        for name, value in WEIGHTS.items():
            v1.get_variable(name, initializer=tensorflow.constant(value, tensorflow.float32))
        loss = tensorflow.add_n([tensorflow.reduce_sum(x) for x in v1.trainable_variables()])
        v1.train.AdamOptimizer().minimize(loss, v1.train.get_or_create_global_step())
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / 'model.ckpt'), global_step=7)
    for source in ('', 'model.ckpt-7', 'model.ckpt-7.index', 'model.ckpt-7.meta',
                   'model.ckpt-7.data-00000-of-00001'):
        same(read_checkpoint(tmp_path / source), WEIGHTS)


def test_folder_without_a_tensorflow_checkpoint_is_named(tmp_path):
    pytest.importorskip('tensorflow', reason='tensorflow is not installed')
    with pytest.raises(ValueError, match='no checkpoint at'):
        open_tensorflow(tmp_path)


def test_missing_tensorflow_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorflow', None)
    (tmp_path / 'model.ckpt.index').touch()
    for source in (tmp_path, tmp_path / 'model.ckpt', tmp_path / 'model.ckpt.index'):
        with pytest.raises(ModuleNotFoundError, match='pip install tensorflow-cpu'):
            read_checkpoint(source)


@pytest.mark.parametrize('wrapped', [False, True])
def test_pytorch_state_dict(tmp_path, wrapped):
    state = {'conv.0.weight': torch.randn(2, 3), 'conv.0.bias': torch.ones(2)}
    torch.save({'state_dict': state} if wrapped else state, tmp_path / 'net.pth.tar')
    same(read_checkpoint(tmp_path / 'net.pth.tar'), state)


def test_training_checkpoint_with_random_state_is_read_safely(tmp_path):
    # pygoturn keeps numpy's random state, the optimizer and the loss beside the weights.
    state = {'classifier.9.bias': torch.ones(4)}
    checkpoint = {'itr': 20000, 'np_rand_state': np.random.get_state(), 'state_dict': state,
                  'torch_rand_state': torch.get_rng_state(), 'l1_loss': np.float64(3.5),
                  'optimizer': {'state': {0: {'momentum_buffer': torch.zeros(4)}}}}
    torch.save(checkpoint, tmp_path / 'model.pth.tar')
    same(read_checkpoint(tmp_path / 'model.pth.tar'), state)


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({'state_dict': {'a': Harmful(tmp_path / 'harm')}}, tmp_path / 'net.pt')
    with pytest.raises(ValueError, match='cannot be loaded safely'):
        read_checkpoint(tmp_path / 'net.pt')
    assert not (tmp_path / 'harm').exists()


def test_layers_as_nested_dicts_and_as_npz(tmp_path):
    layers = {'conv11': {'weight': np.ones((2, 3), 'f4'), 'bias': np.zeros(2, 'f4')}}
    expected = {'conv11.weight': layers['conv11']['weight'], 'conv11.bias': np.zeros(2)}
    torch.save(layers, tmp_path / 'net.pt')
    same(read_checkpoint(tmp_path / 'net.pt'), expected)
    for separator in './':
        np.savez(tmp_path / 'net.npz', **{
            f'conv11{separator}{part}': value for part, value in layers['conv11'].items()})
        same(read_checkpoint(tmp_path / 'net.npz'), expected)


def varint(value):
    result = b''
    while value > 127:
        result, value = result + bytes([value & 127 | 128]), value >> 7
    return result + bytes([value])


def field(number, payload):
    """Encode a length-delimited field of a protocol buffer, or an integer."""
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def blob(values, old):
    if old:
        sides = [1] * (4 - values.ndim) + list(values.shape)
        shape = b''.join(field(k + 1, side) for k, side in enumerate(sides))
    else:
        shape = field(7, field(1, b''.join(varint(side) for side in values.shape)))
    return shape + field(5, values.astype('<f4').tobytes())


def caffemodel(layers, old):
    """Encode layers {name: [weight, bias]} as NetParameter of caffe.proto, new or V1."""
    net_field, name_field, blob_field = (2, 4, 6) if old else (100, 1, 7)
    message = field(1, b'net')
    for name, blobs in layers.items():
        layer = field(name_field, name.encode())
        layer += b''.join(field(blob_field, blob(values, old)) for values in blobs)
        message += field(net_field, layer)
    # An unused field of another type: fixed 32 bits.
    return message + varint(200 << 3 | 5) + b'\0\0\0\0'


@pytest.mark.parametrize('old', [False, True])
def test_caffemodel(tmp_path, old):
    rng = np.random.default_rng(0)
    layers = {'data': [], 'conv1': [rng.random((96, 3, 11, 11)), rng.random(96)],
              'fc8-shapes': [rng.random((4, 300)), rng.random(4)]}
    (tmp_path / 'net.caffemodel').write_bytes(caffemodel(layers, old))
    same(read_checkpoint(tmp_path / 'net.caffemodel'), {
        f'{name}.{part}': value.astype('f4') for name, blobs in layers.items()
        for part, value in zip(('weight', 'bias'), blobs, strict=False)})


def test_cut_off_caffemodel_is_named(tmp_path):
    data = caffemodel({'conv1': [np.ones((4, 3)), np.ones(4)]}, old=False)
    (tmp_path / 'net.caffemodel').write_bytes(data[:-40])
    with pytest.raises(ValueError, match='net.caffemodel is not a caffemodel file'):
        read_checkpoint(tmp_path / 'net.caffemodel')


@pytest.mark.parametrize('name, content, error, text', [
    ('missing.pt', None, FileNotFoundError, 'no checkpoint'),
    ('text.pt', b'hello', ValueError, 'cannot be loaded safely'),
    ('text.caffemodel', b'hello', ValueError, 'not a caffemodel'),
])
def test_unreadable_files_are_named(tmp_path, name, content, error, text):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=text) as caught:
        read_checkpoint(tmp_path / name)
    assert name in str(caught.value)


def test_unknown_checkpoint_format_is_refused():
    with pytest.raises(ValueError, match='unknown checkpoint format; .*, got conv.a, conv.b'):
        detect_kind({'conv.a': torch.zeros(1), 'conv.b': torch.zeros(1)})
    with pytest.raises(ValueError, match='small network of re3-pytorch'):
        detect_kind({'feature_extractor.0.conv.weight': torch.zeros(1)})


# The command line, with a narrow network in place of the published one.

NARROW = {'crop_size': 67, 'channels': [8, 8, 8, 8, 8], 'skips': [2, 3, 4], 'fc': 16, 'hidden': 6}


@pytest.fixture
def narrow_checkpoint(tmp_path, monkeypatch):
    """Return the path of a checkpoint in re3-pytorch's layout."""
    monkeypatch.setitem(KINDS, 're3-pytorch', Kind(
        lambda: Re3Net(**NARROW), re3_pytorch, KINDS['re3-pytorch'].mark))
    shapes = {name: tuple(value.shape) for name, value in Re3Net(**NARROW).state_dict().items()}
    state = {name: torch.randn(shape) * .1 for entry in re3_pytorch(shapes).values()
             for name, shape in entry.sources}
    torch.save(state, tmp_path / 'iteration_100.pt')
    return tmp_path / 'iteration_100.pt'


def test_command_writes_weights_that_load(narrow_checkpoint, tmp_path, capsys):
    for precision in ('float32', 'float16'):
        out = tmp_path / f'{precision}.safetensors'
        assert main([str(narrow_checkpoint), str(out), '--precision', precision]) == 0
        assert 're3 with ' in capsys.readouterr().out
        network = load_network('re3', out)
        crops = Crops(*torch.zeros(2, 1, 3, 67, 67, dtype=torch.uint8))
        assert network.start(crops)[0].boxes.isfinite().all()
    assert (tmp_path / 'float16.safetensors').stat().st_size < \
        .6 * (tmp_path / 'float32.safetensors').stat().st_size


def test_command_names_misfits_and_writes_nothing(narrow_checkpoint, tmp_path, capsys):
    state = torch.load(narrow_checkpoint)
    del state['fc6.bias']
    torch.save(state, narrow_checkpoint)
    out = tmp_path / 'out.safetensors'
    assert main([str(narrow_checkpoint), str(out)]) == 1
    assert 'fc6.bias (16,) is missing' in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize('source, out, text', [
    ('no.pt', 'out.safetensors', 'no checkpoint'),
    ('iteration_100.pt', 'none/out.safetensors', 'no folder')])
def test_command_names_missing_files_and_folders(
        narrow_checkpoint, tmp_path, capsys, source, out, text):
    assert main([str(tmp_path / source), str(tmp_path / out)]) == 1
    assert text in capsys.readouterr().err


def test_command_runs_as_a_module():
    result = subprocess.run([sys.executable, '-m', 're3_core.convert', '--help'],
                            capture_output=True, text=True)
    assert result.returncode == 0
    assert all(kind in result.stdout for kind in KINDS)
