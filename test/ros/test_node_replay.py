# Copyright 2026 re3_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Recordings: every frame, the same tracks each time, and bags that loop."""

import numpy as np

FRAMES = 40
BOXES = {'cup': (40., 30., 80., 90.), 'dog': (90., 20., 140., 70.)}


def picture(number):
    """Return a frame of smooth noise that drifts."""
    noise = np.random.default_rng(0).integers(0, 255, (15, 60, 3), np.uint8)
    return np.kron(noise, np.ones((8, 8, 1), np.uint8))[:, 2 * number:160 + 2 * number]


def replay(client, inits_at):
    """Send all frames at once, boxes for frame 5 in between; return the last frame's tracks."""
    first = client.stamp
    for number in range(FRAMES):
        if number == inits_at:
            for identity, box in BOXES.items():
                client.init(identity, box, stamp=first + 6 * 33_333_333)
        last = client.send(picture(number))
    tracks = client.tracks_of(last)
    assert len(client.tracks) == FRAMES
    return tracks


def test_every_replay_gives_the_same_tracks(start_node, make_client):
    """Whether the boxes come before their image or 24 images after it."""
    results = []
    for inits_at in (0, 30):
        namespace = f'/replay_{inits_at}'
        with start_node('-r', f'__ns:={namespace}', process_every_frame=True, lost_score=0.0,
                        init_buffer_seconds=10.0, catch_up_frames=100):
            client = make_client(namespace=namespace, depth=FRAMES).connect()
            tracks = replay(client, inits_at)
            results.append([(track.id, track.bbox, track.results[0].hypothesis.score)
                            for track in tracks.detections])
    assert [identity for identity, _, _ in results[0]] == list(BOXES)
    assert results[0] == results[1]


def test_bag_that_loops_may_keep_its_targets(start_node, make_client):
    with start_node('-r', '__ns:=/loop', on_time_jump='keep', lost_score=0.0) as node:
        client = make_client(namespace='/loop').connect()
        client.stamp += 10_000_000_000
        client.start_target('cup', BOXES['cup'])
        client.stamp -= 10_000_000_000
        client.send()
        assert list(client.track()) == ['cup']
        node.wait_for_log('image stamps jumped back; targets kept')
