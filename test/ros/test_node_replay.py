# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Recordings: every frame, the same tracks each time, and bags that loop."""

import numpy as np

FRAMES = 40
PERIOD = 33_333_333
BOXES = {'cup': (40., 30., 80., 90.), 'dog': (90., 20., 140., 70.)}


def pixels(number):
    """Return a frame of smooth noise that drifts."""
    noise = np.random.default_rng(0).integers(0, 255, (15, 60, 3), np.uint8)
    return np.kron(noise, np.ones((8, 8, 1), np.uint8))[:, 2 * number:160 + 2 * number]


def replay(node, client, inits_at):
    """
    Send all frames, boxes for frame 5 in between; return {(frame, id): track}.

    Topics are not ordered among each other: the boxes come whenever they come, but the last
    frame is sent after that.
    """
    first = client.stamp + PERIOD
    for number in range(FRAMES - 1):
        if number == inits_at:
            for identity, box in BOXES.items():
                client.init(identity, box, stamp=first + 5 * PERIOD)
        client.send(pixels(number))
    for identity in BOXES:
        node.wait_for_log(f"target '{identity}' started")
    client.tracks_of(client.send(pixels(FRAMES - 1)))
    assert len(client.tracks) == FRAMES
    return {((stamp - first) // PERIOD, track.id): (track.bbox, track.results[0].hypothesis.score)
            for stamp, message in client.tracks.items() for track in message.detections}


def test_every_replay_gives_the_same_tracks(start_node, make_client):
    """Whether the boxes come before their image or 24 images after it."""
    results = []
    for inits_at in (0, 30):
        namespace = f'/replay_{inits_at}'
        with start_node('-r', f'__ns:={namespace}', process_every_frame=True, lost_confidence=0.0,
                        init_buffer_seconds=10.0) as node:
            client = make_client(namespace=namespace, depth=FRAMES).connect()
            results.append(replay(node, client, inits_at))
    both = results[0].keys() & results[1].keys()
    assert both >= {(FRAMES - 1, identity) for identity in BOXES}
    assert all(results[0][key] == results[1][key] for key in both)


def test_no_image_of_a_recording_is_left_out_with_two_cameras(start_node, make_client):
    with start_node('-r', '__ns:=/pair', cameras='[front, rear]', process_every_frame=True):
        clients = [make_client(namespace='/pair', camera=name, depth=FRAMES).connect()
                   for name in ('front', 'rear')]
        sent = [[client.send() for _ in range(FRAMES)] for client in clients]
        for client, stamps in zip(clients, sent, strict=True):
            client.tracks_of(stamps[-1])
            assert sorted(client.tracks) == stamps


def test_images_of_a_recording_that_were_missed_are_told(start_node, make_client):
    override = 'qos_overrides./fast/image.subscription.depth'
    with start_node('-r', '__ns:=/fast', process_every_frame=True, **{override: 1}) as node:
        client = make_client(namespace='/fast').connect()

        def warned():
            for _ in range(FRAMES):
                client.send()
            client.tracks_of(client.send())
            return 'images of the bag were missed' in node.log
        client.wait_until(warned, 'the warning that images were missed')
        assert f'{override} above 1' in node.log


def test_bag_that_loops_may_keep_its_targets(start_node, make_client):
    with start_node('-r', '__ns:=/loop', on_time_jump='keep', lost_confidence=0.0) as node:
        client = make_client(namespace='/loop').connect()
        client.stamp += 10_000_000_000
        client.start_target('cup', BOXES['cup'])
        client.stamp -= 10_000_000_000
        client.send()
        assert list(client.track()) == ['cup']
        node.wait_for_log('image stamps jumped back; targets kept')
