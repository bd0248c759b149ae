# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Steps by CUDA graphs: padding, copies, and what happens without them."""

import pytest
from re3_core.engines.cuda_graphs import Captured, CudaGraphs, MAX_BATCH
from re3_core.engines.torch_engine import TorchEngine
from re3_core.networks import Crops, Re3LiteNet, State
import torch


class Replayed(CudaGraphs):
    """Captures on a CPU: a replay runs the step again and writes its outputs in place."""

    def __init__(self, step):
        super().__init__(step)
        self.sizes = []

    def capture(self, inputs, references):
        self.sizes.append(len(inputs[0]))
        outputs = self.run(inputs, references)

        def replay():
            for output, value in zip(outputs, self.run(inputs, references), strict=True):
                output.copy_(value)
        return Captured(inputs, outputs, replay)


class Refused(CudaGraphs):
    """A capture that fails."""

    def capture(self, inputs, references):
        raise RuntimeError('operation not permitted when stream is capturing')


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return Re3LiteNet(width=.25, embedding=8, hidden=16).eval().requires_grad_(False)


def batch(network, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Crops(*(torch.randint(0, 256, (count, 3, spec.size, spec.size), generator=generator,
                                 dtype=torch.uint8)
                   for spec in (network.previous_crop, network.current_crop)))


def tensors(result):
    prediction, state = result
    return [*prediction, *state.reference, *state.memory]


def assert_same(result, expected):
    for one, other in zip(tensors(result), tensors(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_padded_steps_equal_those_of_the_network(network):
    graphs = Replayed(network.step)
    for seed, count in enumerate((3, 1, 4, 3)):
        crops = batch(network, count, seed)
        state = network.start(batch(network, count, seed + 10))[1]
        assert_same(graphs(crops, state), network.step(crops, state))
    assert graphs.sizes == [4, 1]       # three targets share the graph of four


def test_results_stay_when_the_next_step_runs(network):
    graphs = Replayed(network.step)
    state = network.start(batch(network, 2))[1]
    first = graphs(batch(network, 2, 1), state)
    kept = [tensor.clone() for tensor in tensors(first)]
    graphs(batch(network, 2, 2), first[1])
    assert all(torch.equal(one, other) for one, other in zip(tensors(first), kept, strict=True))


@pytest.mark.parametrize('kind, count', [(Refused, 2), (Replayed, MAX_BATCH + 1)])
def test_steps_run_as_they_are_where_there_is_no_graph(kind, count):
    calls = []

    def step(crops, state):
        calls.append(len(crops.current))
        return 'prediction', state
    graphs = kind(step)
    crops, state = Crops(*torch.zeros(2, count, 1)), State((), ())
    assert graphs(crops, state) == ('prediction', state)
    assert graphs(crops, state) == ('prediction', state)
    assert calls == [count, count]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('precision, tolerance', [('float32', 1e-3), ('float16', 2e-2)])
def test_steps_on_a_gpu_equal_those_of_the_cpu(network, precision, tolerance):
    engines = [TorchEngine(network, 'cpu'), TorchEngine(network, 'cuda', precision)]
    outputs = [engine.start(batch(network, 3)) for engine in engines]
    for seed in range(1, 5):
        outputs = [engine.step(batch(network, 3, seed), output.states)
                   for engine, output in zip(engines, outputs, strict=True)]
        assert outputs[1].boxes == pytest.approx(outputs[0].boxes, abs=tolerance)
        assert outputs[1].confidences == pytest.approx(outputs[0].confidences, abs=tolerance)
