# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The web page of the installed nodes in a real browser, over real ROS 2 transport."""

import os
import re

import numpy as np
import pytest
from re3_core.boxes import iou

SIZE = (160, 120)


@pytest.fixture
def start_web(start_process):
    """Return a function that starts the node `web` and returns its process; see `address_of`."""
    from re3_ros.demo.processes import find_command
    started = []

    def start(*arguments, **parameters):
        process = start_process(find_command('web'), *arguments, **{'web_port': 0, **parameters})
        started.append(process)
        process.wait_for_log('open http')
        return process
    yield start
    for process in started:
        if process.alive:
            assert process.end() == 0


def address_of(web):
    """Return the URL that the node `web` logged."""
    return re.search(r'open (http\S+)', web.log)[1]


@pytest.fixture
def web_page(start_web, client, page):
    """Return the page of a node that follows no camera yet, opened; `page.client` is one."""
    page.client, page.web = client, start_web()
    page.open(address_of(page.web))
    page.wait_until(lambda: 'waiting' not in page.text('health'), 'diagnostics')
    return page


def send_until(page, condition, what):
    """Publish images until the condition holds."""
    def sent():
        page.client.send()
        page.client.executor.spin_once(timeout_sec=.02)
        return condition()
    return page.wait_until(sent, what)


def test_a_box_drawn_in_the_page_is_followed_in_the_demo_clip(
        start_process, start_web, make_client, demo_clips, page, tmp_path):
    from re3_ros.demo.clips import load_annotation
    from re3_ros.demo.player import read_stamps
    from re3_ros.demo.processes import find_command, find_config
    from std_srvs.srv import SetBool
    clip = load_annotation(find_config() / 'demo' / 'bikes.yaml')
    size = tuple(clip['size'])

    def play(**parameters):
        return start_process(find_command('camera_player'), **{
            'video': demo_clips / 'bikes.mp4', 'start': clip['start'], 'end': clip['end'],
            'paused': True, 'rate': 10., **parameters})
    tracker = start_process(
        find_command('tracker_node'), '-r', 'image:=/camera/image_raw', device='cpu')
    client = make_client()
    with tracker, play(stamps_file=tmp_path / 'stamps.csv') as player:
        page.open(address_of(start_web(web_rate=60.)))
        page.wait_for_image()
        page.element('#name').send_keys('bollard')
        page.record('bollard')
        page.drag(clip['boxes'][clip['start']], size)
        page.wait_until(lambda: 'bollard' in page.targets(), 'the target')
        client.call(SetBool, '/camera/camera_player/play', data=True)
        player.wait_for_end()
        # The camera is gone, and the page reports it.
        page.wait_until(lambda: 'No image on /camera/image_raw' in page.text('problem')
                        and 'nobody publishes there' in page.text('problem'), 'the problem')
        boxes = {stamp: box for _, stamp, box in page.recorded()}
        shown = {frame: boxes[str(stamp)] for frame, stamp in read_stamps(tmp_path / 'stamps.csv')
                 if str(stamp) in boxes}
        overlaps = [float(iou(np.array(shown[frame]), box)) for frame, box in clip['boxes'].items()
                    if frame in shown and frame > clip['start']]
        assert len(overlaps) >= 3    # the others were skipped on a busy machine
        assert np.mean(overlaps) >= .6
        with play():    # and comes back
            page.wait_until(lambda: not page.element('#problem').is_displayed(),
                            'the problem to go')
    page.wait_until(lambda: 'No diagnostics from /re3/tracker' in page.text('problem'),
                    'the missing tracker')
    assert page.element('#enable').get_property('disabled')
    assert page.errors() == []


def wait_for_image(page):
    """Publish images until the page shows one."""
    send_until(page, lambda: page.script("return document.getElementById('waiting').hidden"),
               'an image')


def test_images_are_subscribed_only_while_somebody_looks(web_page):
    page, client = web_page, web_page.client

    def subscribed():
        return 'web' in [info.node_name for info in client.node.get_subscriptions_info_by_topic(
            client.images.topic_name)]
    send_until(page, subscribed, 'the subscription')
    page.element('#pause').click()
    send_until(page, lambda: not subscribed(), 'the end of the subscription')
    page.element('#pause').click()
    send_until(page, subscribed, 'the subscription')
    page.driver.get('about:blank')
    send_until(page, lambda: not subscribed(), 'the end of the subscription')


def test_a_box_on_a_paused_image_carries_its_stamp(web_page):
    from vision_msgs.msg import Detection2D
    page, boxes = web_page, []
    page.client.node.create_subscription(Detection2D, 'init', boxes.append, 10)
    wait_for_image(page)
    page.element('#pause').click()
    page.wait_until(lambda: 'paused' in page.text('frame-info'), 'the pause')
    sent = [page.client.track() for _ in range(5)]
    assert len(sent) == 5
    paused_at = page.client.stamp
    page.drag((40, 30, 100, 90), SIZE)
    send_until(page, lambda: boxes, 'the box')
    stamp = boxes[0].header.stamp
    assert stamp.sec * 1_000_000_000 + stamp.nanosec < paused_at
    assert boxes[0].bbox.center.position.x == pytest.approx(70, abs=1)
    assert boxes[0].bbox.size_y == pytest.approx(60, abs=1)
    send_until(page, page.targets, 'the target in the list')


def test_services_rename_and_remove(web_page):
    page = web_page
    wait_for_image(page)
    page.element('#name').send_keys('cup')
    page.drag((40, 30, 100, 90), SIZE)
    send_until(page, lambda: set(page.targets()) == {'cup'}, 'the target')
    page.element('[data-id="cup"] .select').click()
    field = page.element('[data-id="cup"] .rename input')
    field.clear()
    field.send_keys('mug\n')
    send_until(page, lambda: set(page.targets()) == {'mug'}, 'the renamed target')
    page.element('#enable').click()
    send_until(page, lambda: page.text('enable') == 'Resume tracking', 'the pause of tracking')
    send_until(page, lambda: 'disabled' in page.text('health'), 'the diagnostics')
    page.element('#enable').click()
    send_until(page, lambda: page.text('enable') == 'Stop tracking', 'the resumption')
    page.element('#reset').click()
    page.element('#confirm-yes').click()
    send_until(page, lambda: page.targets() == {}, 'the removal')
    send_until(page, lambda: '1 targets removed' in page.text('messages'), 'the answer')


def test_a_box_that_the_tracker_refuses_is_reported(web_page):
    page = web_page
    wait_for_image(page)
    # The same box again has the same answer, which must be shown again.
    for count in (1, 2):
        page.client.init('far', (1000., 1000., 1100., 1100.))
        send_until(page, lambda count=count: page.text('messages').count(
            "target 'far' refused: ") == count, f'{count} refusals')


def test_what_the_status_says_is_shown_once(web_page):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    from re3_ros.qos import latched_profile
    page, tables = web_page, web_page.client.statuses
    # The tracker's own tables, which lack the targets of these ones, must not come in between:
    # it publishes none once the refused requests of earlier tests have left the table.
    wait_for_image(page)
    send_until(page, lambda: tables and all(
        row.message != 'refused' for row in tables[-1].status), 'the end of earlier refusals')
    statuses = page.client.node.create_publisher(DiagnosticArray, 'status', latched_profile())

    def publish(state, number):
        target = DiagnosticStatus(name='cup', message=state)
        values = {'reason': 'outside the image', 'number': str(number)}
        refused = DiagnosticStatus(
            level=DiagnosticStatus.ERROR, name='away', message='refused',
            values=[KeyValue(key=key, value=value) for key, value in values.items()])
        statuses.publish(DiagnosticArray(status=[target, refused]))
    refusal = "target 'away' refused: outside the image"
    shown = []
    for state, number, news in (
            ('tracked', 1, [refusal]), ('lost', 1, ["target 'cup' lost"]),
            ('tracked', 1, ["target 'cup' found again"]), ('paused', 1, []),
            ('lost', 1, ["target 'cup' lost"]), ('lost', 2, [refusal])):
        publish(state, number)
        shown += news
        page.wait_until(lambda shown=tuple(shown): tuple(page.script(
            "return [...document.querySelectorAll('#messages li')].map("
            "(item) => item.lastChild.data).filter((text) => !text.includes('removed')"
            " && !text.includes(\"'far'\"))"))[::-1] == shown, shown)


def test_tracks_that_are_not_finite_are_left_out(web_page):
    from vision_msgs.msg import Detection2DArray
    page = web_page
    wait_for_image(page)
    tracks = page.client.node.create_publisher(Detection2DArray, 'tracks', 10)

    def shown():
        good, bad = (page.client.detection(name, (20., 20., 60., 60.)) for name in ('ok', 'bad'))
        bad.bbox.size_x = float('nan')
        tracks.publish(Detection2DArray(header=page.client.header(7), detections=[bad, good]))
        return set(page.targets()) == {'ok'}
    page.wait_until(shown, 'the good one')
    send_until(page, lambda: not page.targets(), 'the next image')
    assert page.errors() == []


def test_several_cameras(start_node, start_web, make_client, page):
    with start_node('-r', '__ns:=/two', cameras="['front', 'rear']") as node:
        node.wait_for_log('active, waiting for images')
        clients = [make_client(namespace='/two', camera=name) for name in ('front', 'rear')]
        page.open(address_of(start_web('-r', '__ns:=/two')))
        for number, client in enumerate(clients, 1):
            page.wait_until(lambda: len(page.script(
                "return [...document.querySelectorAll('#cameras button')]")) == 2, 'the tabs')
            page.element(f'#cameras button:nth-child({number})').click()
            page.client = client
            wait_for_image(page)
            page.element('#name').send_keys(f'cup{number}')
            page.drag((40, 30, 100, 90), SIZE)
            send_until(page, lambda number=number: set(page.targets()) == {f'cup{number}'},
                       'the target')


def test_the_process_leaves_the_cores_to_the_tracker(start_web):
    from re3_ros.web.node import NICENESS
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, start_web().pid) == min(19, own + NICENESS)


@pytest.mark.parametrize(('parameters', 'text'), [
    ({'web_port': 70000}, 'port must be'), ({'web_rate': 0.}, 'rate must be'),
    ({'web_host': '203.0.113.1'}, 'cannot listen on 203.0.113.1'),
    ({'web_token': 'short'}, 'token must be'), ({'web_port': 'x'}, 'web_port')])
def test_bad_parameters_end_the_node_with_a_reason(start_process, parameters, text):
    from re3_ros.demo.processes import find_command
    with start_process(find_command('web'), **parameters) as process:
        assert process.wait_for_end() == 1
        assert text in process.log
        assert 'Traceback' not in process.log
