# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""From recordings to better weights: record, track, label, fine-tune, and run the node."""

import asyncio
import json
import os
from pathlib import Path
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rosbags', reason='needs the extra bags')
pytest.importorskip('pydantic', reason='needs the extra training')
pytest.importorskip('aiohttp', reason='needs the extra web')
from re3_core.boxes import iou  # noqa: E402
from re3_ros.bag.__main__ import DONE, main  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
FRAMES, SIDE = 20, 40
TOPIC = '/camera/image_raw'


class Walk:
    """A textured square that walks over a textured ground, 120 x 160 pixels."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.ground = rng.integers(0, 90, (120, 160, 3), np.uint8)
        self.texture = np.kron(rng.integers(110, 255, (8, 8, 3), np.uint8),
                               np.ones((5, 5, 1), np.uint8))
        self.start = rng.integers(10, 50, 2)

    def box(self, t):
        """Return the true xyxy box in a frame."""
        x, y = self.start + (3 * t, (t % 4))
        return np.array((x, y, x + SIDE, y + SIDE), float)

    def image(self, t):
        """Return a frame."""
        x, y = self.box(t)[:2].astype(int)
        image = self.ground.copy()
        image[y:y + SIDE, x:x + SIDE] = self.texture
        return image

    def message(self, t):
        """Return a frame as a sensor_msgs/Image."""
        from sensor_msgs.msg import Image
        rgb = self.image(t)
        message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding='rgb8',
                        step=3 * rgb.shape[1], data=rgb.tobytes())
        message.header.frame_id = 'camera'
        message.header.stamp.sec, message.header.stamp.nanosec = 1000, 40_000_000 * t
        return message


@pytest.fixture
def worn_weights(tmp_path):
    """Return the packaged weights with noise on those of the boxes: they can be improved."""
    from re3_core import load_network, save_network
    import torch
    network, noise = load_network(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        weight = network.head.votes.weight
        weight += 3 * weight.std() * torch.randn(weight.shape, generator=noise)
    save_network(network, tmp_path / 'worn.safetensors')
    return tmp_path / 'worn.safetensors'


def record(ros, walk, path):
    """Publish the frames of a walk with rclpy, and record what arrives as a bag."""
    from rclpy.qos import QoSProfile
    from re3_ros.bag import message_types as types
    from rosbags.rosbag2 import StoragePlugin, Writer
    from sensor_msgs.msg import Image
    node = ros.create_node('recorder')
    received = []
    publisher = node.create_publisher(Image, '/loop/image', QoSProfile(depth=FRAMES))
    node.create_subscription(Image, '/loop/image', received.append, QoSProfile(depth=FRAMES),
                             raw=True)
    clock = node.get_clock()
    end = clock.now().nanoseconds + PATIENCE * 10 ** 9

    def spin_until(condition):
        while not condition():
            assert clock.now().nanoseconds < end, 'the images do not arrive'
            ros.spin_once(node, timeout_sec=.1)
    spin_until(lambda: publisher.get_subscription_count())
    for t in range(FRAMES):
        publisher.publish(walk.message(t))
    spin_until(lambda: len(received) == FRAMES)
    node.destroy_node()
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(TOPIC, types.IMAGE, typestore=types.typestore())
        for t, data in enumerate(received):
            writer.write(connection, 1000 * 10 ** 9 + 40_000_000 * t, bytes(data))


def label(bag, walk, environment):
    """Label a bag through the page's server: two boxes by hand, the others filled in."""
    from aiohttp import ClientSession
    process = subprocess.Popen(
        [sys.executable, '-u', '-m', 'training.label', str(bag), '--port', '0', '--device', 'cpu'],
        stdout=subprocess.PIPE, text=True, env=environment, cwd=bag.parent)

    async def work(address):
        async with ClientSession() as session, session.ws_connect(
                f'{address}/ws', headers={'Origin': address}) as socket:
            async def until(kind, condition=lambda message: True):
                while True:
                    message = json.loads(
                        (await asyncio.wait_for(socket.receive(), PATIENCE)).data)
                    assert message['type'] != 'notice', message
                    if message['type'] == kind and condition(message):
                        return message
            await until('overview')
            for frame, identity in ((0, ''), (FRAMES - 1, '1')):
                await socket.send_json({'type': 'key', 'id': identity, 'frame': frame,
                                        'box': walk.box(frame).tolist(), 'occluded': False})
                await until('done')
            return await until('target', lambda message: message['boxes'] and len(
                message['keys']) == 2)
    try:
        address = next(line.split()[1].rstrip('/') for line in process.stdout
                       if line.startswith('open '))
        labels = asyncio.run(work(address))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
    return np.array(labels['boxes'])


def mean_overlap(boxes, walk):
    """Return the mean IoU of boxes (T, 4) with the true ones."""
    return float(iou(boxes, np.array([walk.box(t) for t in range(FRAMES)])).mean())


def tracked_boxes(folder):
    """Return the boxes (T, 4) of a target that `bag track` has written."""
    rows = np.genfromtxt(next((folder / 'otb').glob('*.txt')), delimiter=',')
    return np.concatenate((rows[:, :2], rows[:, :2] + rows[:, 2:]), 1)


def test_from_recordings_to_better_weights(ros, start_node, make_client, worn_weights, tmp_path,
                                           monkeypatch, capsys):
    from re3_ros.messages import fill_box
    from training import finetune
    from vision_msgs.msg import Detection2D
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])}
    walks = {name: Walk(seed) for seed, name in enumerate(('one', 'two'))}
    # 1. Record, and look at what the tracker makes of it.
    for name, walk in walks.items():
        record(ros, walk, tmp_path / name)
        x, y, _, _ = walk.box(0)
        assert main(['track', name, '--init', f'square={x},{y},{SIDE},{SIDE}@0', '--weights',
                     str(worn_weights), '--device', 'cpu', '--param', 'lost_confidence=0',
                     '--formats', 'otb']) == DONE
    before = {name: mean_overlap(tracked_boxes(tmp_path / f'{name}_tracks'), walk)
              for name, walk in walks.items()}
    # 2. Label both, in projects that are the data set.
    (tmp_path / 'labels').mkdir()
    for name, walk in walks.items():
        boxes = label(tmp_path / name, walk, environment)
        assert mean_overlap(boxes, walk) > .75
        (tmp_path / f'{name}_labels').rename(tmp_path / 'labels' / name)
    # 3. Fine-tune; one of both is held out.
    report = finetune.finetune(finetune.FinetuneOptions(
        data='labels', output='better', weights=worn_weights, iterations=40, batch=4, unroll=4,
        lr=1e-3, validate_every=10, simulated_clips=2, threads=1, device='cpu', export=False))
    assert report['improved'] and report['after'] > report['before'] + .05
    weights = tmp_path / 'better' / 'weights.safetensors'
    (held_out,) = report['sequences']
    walk = walks[held_out.partition('/')[0]]
    # 4. Run the node with the new weights on the held-out recording.
    with start_node('-r', '__ns:=/loop', weights=weights, process_every_frame=True,
                    lost_confidence=0.) as node:
        client = make_client(namespace='/loop', depth=FRAMES).connect()
        client.images.publish(walk.message(0))
        client.tracks_of(1000 * 10 ** 9)
        request = Detection2D(id='square')
        request.header.stamp.sec = 1000
        fill_box(request.bbox, walk.box(0))
        client.inits.publish(request)
        node.wait_for_log("target 'square' started")
        boxes = [walk.box(0)]
        for t in range(1, FRAMES):
            client.images.publish(walk.message(t))
            tracks = client.tracks_of(1000 * 10 ** 9 + 40_000_000 * t)
            (detection,) = tracks.detections
            center = detection.bbox.center.position
            half = np.array((detection.bbox.size_x, detection.bbox.size_y)) / 2
            middle = np.array((center.x, center.y))
            boxes.append(np.concatenate((middle - half, middle + half)))
    assert mean_overlap(np.array(boxes), walk) > before[held_out.partition('/')[0]] + .03
