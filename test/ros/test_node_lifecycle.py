# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Lifecycle, parameters, services and the end of the node's process."""

from pathlib import Path
import signal

import pytest

BOX = (40., 30., 80., 90.)


def test_transitions_by_hand(start_node, make_client):
    from std_srvs.srv import SetBool, Trigger
    with start_node('-r', '__ns:=/manual', autostart=False, lost_confidence=0.0):
        client = make_client(namespace='/manual')
        assert client.state() == 'unconfigured'
        assert client.transition('configure', 'inactive')
        assert client.transition('activate', 'active')
        client.connect()
        client.start_target('cup', BOX)

        assert client.transition('deactivate', 'inactive')
        client.wait_until(lambda: not client.images.get_subscription_count(), 'to unsubscribe')
        assert client.transition('activate', 'active')
        client.connect()
        assert list(client.track()) == ['cup']      # deactivate keeps the targets

        assert client.call(SetBool, 'tracker/enable', data=False).success
        ignored = client.send_and_arrive()
        assert client.call(SetBool, 'tracker/enable', data=True).success
        assert list(client.track()) == ['cup']
        assert ignored not in client.tracks
        assert client.call(Trigger, 'tracker/reset').success
        assert client.track() == {}

        client.start_target('cup', BOX)
        assert client.transition('deactivate', 'inactive')
        assert client.transition('cleanup', 'unconfigured')
        assert client.transition('configure', 'inactive')
        assert client.transition('activate', 'active')
        client.connect()
        assert client.track() == {}                 # cleanup forgets them
        assert client.transition('active_shutdown', 'finalized')


def test_bad_weights_fail_to_configure(start_node, make_client, tmp_path):
    bad = tmp_path / 'bad.safetensors'
    bad.write_bytes(b'no weights at all')
    with start_node('-r', '__ns:=/bad', autostart=False, weights=bad) as node:
        client = make_client(namespace='/bad')
        assert not client.transition('configure', 'inactive')
        assert client.state() == 'unconfigured'
        node.wait_for_log('cannot configure')


@pytest.mark.parametrize('parameters, text', [
    ({'precision': 'int4'}, 'precision must be auto, float32, bfloat16, float16 or int8'),
    ({'image_transport': 'smoke'}, 'image_transport must be raw or compressed'),
    ({'lost_confidence': 4.0}, 'lost_confidence out of range'),
    ({'lost_confidence': 1}, 'lost_confidence'),
    ({'lost_confidence': .9, 'found_confidence': .1}, 'must not be below lost_confidence'),
    ({'cameras': ['front', 'front']}, 'cameras must differ'),
    ({'cameras': ['a/b']}, "letter, got 'a/b'"),
    ({'cameras': ['front'], 'front.image_transport': 'smoke'}, 'front.image_transport must be'),
])
def test_bad_parameters_are_named(ros, parameters, text):
    from rclpy.parameter import Parameter
    from re3_ros.node import TrackerNode
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    with pytest.raises(Exception, match=text):
        TrackerNode(parameter_overrides=overrides)


@pytest.mark.parametrize('parameters, text', [
    ({'weights': '/nonexistent.safetensors'}, 'no weights file /nonexistent.safetensors'),
    ({'lost_confidence': 4.0}, 'lost_confidence'),
])
def test_bad_parameters_end_the_node(start_node, parameters, text):
    with start_node(**parameters) as node:
        assert node.wait_for_end() == 1
        assert text in node.log
        assert 'Traceback' not in node.log


def shared_memory():
    """Return the Paths of the middleware's segments that each belong to one process."""
    return {path for path in Path('/dev/shm').glob('fast*') if '_port' not in path.name}


@pytest.mark.parametrize('which', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_node_in_peace(start_node, make_client, which):
    client = make_client(namespace='/end')
    before = shared_memory()
    with start_node('-r', '__ns:=/end', lost_confidence=0.0) as node:
        client.connect()
        client.start_target('cup', BOX)
        for _ in range(20):     # so that it is in the middle of them
            client.send()
        used = Path(f'/proc/{node.pid}/maps').read_text()
        own = {path for path in shared_memory() - before if str(path) in used}
        assert node.end(which) == 0, node.log
        assert 'Traceback' not in node.log
        assert own and not own & shared_memory()


def test_thresholds_change_while_running(client):
    assert client.set_parameters(lost_confidence=.3, found_confidence=.4, lost_after=3).successful
    client.start_target('cup', BOX)
    result = client.set_parameters(lost_confidence=.8)
    assert not result.successful and 'must not be below lost_confidence' in result.reason
    assert not client.set_parameters(lost_confidence=float('nan')).successful
    result = client.set_parameters(device='cpu')
    assert not result.successful and 'read-only' in result.reason
    assert client.set_parameters(lost_confidence=0.0, found_confidence=.5, lost_after=5).successful


def test_old_names_of_parameters_set_the_present_ones(start_node, make_client):
    from rcl_interfaces.srv import GetParameters
    import rclpy.node
    callback = hasattr(rclpy.node.Node, 'add_pre_set_parameters_callback')    # not in Humble

    def value(name):
        return client.call(GetParameters, 'tracker/get_parameters',
                           names=[name]).values[0].double_value
    with start_node('-r', '__ns:=/old', lost_score=.9, found_confidence=.95) as node:
        client = make_client(namespace='/old').connect()
        assert 'lost_score is deprecated and will be removed, use lost_confidence' in node.log
        assert value('lost_confidence') == .9
        assert not client.set_parameters(found_confidence=.85).successful
        result = client.set_parameters(found_score=.8)
        assert not result.successful and 'not be below lost_confidence 0.9' in result.reason
        assert client.set_parameters(lost_score=.1).successful
        assert value('lost_confidence') == (.1 if callback else .9)
        assert client.set_parameters(found_score=.8).successful
        result = client.set_parameters(search_limit='many')
        assert not result.successful and 'search_limit must be of type int' in result.reason


def test_descriptors(client):
    from rcl_interfaces.srv import DescribeParameters
    response = client.call(DescribeParameters, 'tracker/describe_parameters',
                           names=['lost_confidence', 'max_targets', 'image_transport'])
    score, number, transport = response.descriptors
    assert score.floating_point_range[0].to_value == 1.0 and not score.read_only
    assert number.integer_range[0].from_value == 1 and number.read_only
    assert 'raw or compressed' in transport.additional_constraints
    assert all(descriptor.description for descriptor in response.descriptors)


def test_names_of_a_node_started_bare(client):
    """Test that without any remapping the topics are those of the documentation."""
    documented = {'/re3/init', '/re3/detections', '/re3/tracks', '/re3/status', '/diagnostics',
                  '/re3/vision_info', '/re3/image', '/re3/tracker/debug/image'}
    client.wait_until(
        lambda: documented <= {name for name, _ in client.node.get_topic_names_and_types()},
        f'all of {documented}')
