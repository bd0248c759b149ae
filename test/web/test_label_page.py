# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The label page: its server over HTTP and WebSockets, and the page in a real browser."""

import asyncio
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from threading import Event, Thread

from aiohttp import ClientSession, WSServerHandshakeError
import cv2
import numpy as np
import pytest
from re3_core.boxes import iou
from re3_core.io.images import save_image
from re3_web.label.server import LabelServer, Settings

pytest.importorskip('pydantic', reason='needs the extra training')
from training.label import make_source  # noqa: E402
from training.labels import read_labels, write_labels  # noqa: E402
from training.labels.project import create_project, Project  # noqa: E402
from training.trackers import TrackerSpec  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60
COUNT, SIZE = 40, (320, 240)
TRUTH = np.array([(20. + 4 * t, 60. + 1.5 * t, 84. + 4 * t, 124. + 1.5 * t)
                  for t in range(COUNT)])


def write_images(folder):
    """Write images in which a textured square moves along TRUTH."""
    rng = np.random.default_rng(1)
    ground = cv2.resize(rng.integers(40, 200, (24, 32, 3), np.uint8), SIZE)
    texture = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (64, 64),
                         interpolation=cv2.INTER_NEAREST)
    for t, (x, y, _, _) in enumerate(TRUTH.round().astype(int)):
        image = ground.copy()
        part = image[y:y + 64, x:x + 64]
        part[:] = texture[:part.shape[0], :part.shape[1]]
        save_image(folder / f'{t:03d}.jpg', image)


@pytest.fixture
def home(tmp_path):
    """Return the folder of a new project."""
    write_images(tmp_path / 'walk')
    create_project(tmp_path / 'walk_labels', 'walk', tmp_path / 'walk')
    return tmp_path / 'walk_labels'


class ServedLabels:
    """The label page of a project in a thread of its own."""

    def __init__(self, home, **settings):
        self.home, self._settings = home, Settings(**{'port': 0, **settings})
        self._ready = Event()
        self._thread = Thread(target=asyncio.run, args=[self._run()], daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    async def _run(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        source = make_source(Project(self.home), TrackerSpec(device='cpu'))
        self.server = LabelServer(source, self._settings)
        await self.server.start()
        self._ready.set()
        await self._end.wait()
        await self.server.stop()

    def stop(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()


@pytest.fixture
def serve_labels(home):
    """Return a function that serves the page of the project until the end of the test."""
    served = []

    def start(**settings):
        served.append(ServedLabels(home, **settings))
        served[-1].server.stop_thread = served[-1].stop
        return served[-1].server
    yield start
    for one in served:
        one.stop()


# ---- the server ----

def request(server, path, method='GET', headers=None, data=None):
    """Return (status, headers, content) of a request."""
    async def get():
        async with ClientSession() as session, session.request(
                method, f'http://localhost:{server.port}{path}', headers=headers,
                data=data) as response:
            return response.status, response.headers, await response.read()
    return asyncio.run(get())


class Messages:
    """A WebSocket without a browser."""

    def __init__(self, socket):
        self.socket, self.received = socket, []

    async def until(self, kind, condition=lambda message: True):
        """Return the next message of a type for which a condition holds."""
        while True:
            message = json.loads((await asyncio.wait_for(self.socket.receive(), PATIENCE)).data)
            self.received.append(message)
            if message['type'] == kind and condition(message):
                return message

    async def ask(self, **message):
        """Send a change; return the answer, `done` or `notice`."""
        await self.socket.send_json(message)
        while True:
            answer = json.loads((await asyncio.wait_for(self.socket.receive(), PATIENCE)).data)
            self.received.append(answer)
            if answer['type'] in ('done', 'notice'):
                return answer


def talk(server, script):
    """Run `script(Messages)` on a connection to a server or port; return its result."""
    port = getattr(server, 'port', server)

    async def connected():
        address = f'http://localhost:{port}'
        async with ClientSession() as session, session.ws_connect(
                f'{address}/ws', headers={'Origin': address}) as socket:
            return await script(Messages(socket))
    return asyncio.run(connected())


def key_message(frame, identity='', occluded=False):
    """Return the message that sets the true box."""
    return {'type': 'key', 'id': identity, 'frame': frame, 'box': TRUTH[frame].tolist(),
            'occluded': occluded}


def test_pages_and_images_come_with_a_strict_policy(serve_labels):
    server = serve_labels()
    for path, kind in (('/', 'text/html'), ('/label.js', 'text/javascript'),
                       ('/colors.js', 'text/javascript'), ('/label.css', 'text/css'),
                       ('/frames/3', 'image/jpeg'), ('/frames/3?side=100', 'image/jpeg')):
        status, headers, content = request(server, path)
        assert status == 200 and headers['Content-Type'].startswith(kind)
        policy = headers['Content-Security-Policy']
        assert "default-src 'none'" in policy and 'unsafe' not in policy
    assert cv2.imdecode(np.frombuffer(content, np.uint8), 1).shape == (75, 100, 3)
    for path in ('/frames/40', '/frames/-1', '/frames/x', '/export/voc.zip', '/../label.py',
                 '/export/..%2fx.zip'):
        assert request(server, path)[0] == 404


def test_foreign_pages_can_neither_read_nor_change(serve_labels):
    server = serve_labels()
    assert request(server, '/frames/3', headers={'Host': 'evil.example'})[0] == 403
    for headers in ({'Origin': 'http://evil.example'}, {}):
        status, _, _ = request(server, '/import?name=a.txt', 'POST', headers, b'1,1,9,9\n' * 40)
        assert status == 403

        async def connect(headers=headers):
            async with ClientSession() as session:
                await session.ws_connect(f'http://localhost:{server.port}/ws', headers=headers)
        with pytest.raises(WSServerHandshakeError):
            asyncio.run(connect())
    assert server.source.targets() == []


def test_another_machine_needs_the_token(serve_labels):
    server = serve_labels(host='0.0.0.0', token='abcdefghijkl')
    for path in ('/', '/frames/0', '/export/otb.zip'):
        assert request(server, path)[0] == 401


@pytest.mark.parametrize(('text', 'error'), [
    ('x', 'not JSON'), ('{"type": "evil"}', 'type must be one of'),
    ('{"type": "__init__"}', 'type must be one of'),
    ('{"type": "key", "id": "", "frame": 0, "box": [1, 2, 1, 4], "occluded": false}', 'box must'),
    ('{"type": "key", "id": "", "frame": 0, "box": [1, 2, 3, 4], "occluded": 1}', 'true or false'),
    ('{"type": "key", "id": "", "frame": 40, "box": [1, 2, 3, 4], "occluded": false}',
     'no frame 40'),
    ('{"type": "absent", "id": "x", "frame": 0}', 'starts with a box'),
    ('{"type": "undo"}', 'nothing to undo')])
def test_malformed_changes_are_refused_with_the_reason(serve_labels, text, error):
    async def script(messages):
        await messages.until('overview')
        await messages.socket.send_str(text)
        assert error in (await messages.until('notice'))['text']
        return (await messages.ask(**key_message(0)))['type']
    assert talk(serve_labels(), script) == 'done'


def test_all_viewers_get_all_changes(serve_labels):
    server = serve_labels()

    async def script(messages):
        await messages.until('overview')

        async def other():
            async def listen(second):
                return await second.until('target', lambda message: message['boxes'])
            address = f'http://localhost:{server.port}'
            async with ClientSession() as session, session.ws_connect(
                    f'{address}/ws', headers={'Origin': address}) as socket:
                return await listen(Messages(socket))
        task = asyncio.create_task(other())
        await asyncio.sleep(0)
        assert (await messages.ask(**key_message(5)))['id'] == '1'
        return await asyncio.wait_for(task, PATIENCE)
    filled = talk(server, script)
    boxes = np.array(filled['boxes'])
    assert filled['id'] == '1' and iou(boxes, TRUTH).mean() > .6


def test_import_and_export_over_http(serve_labels, home):
    server = serve_labels()
    own = {'Origin': f'http://localhost:{server.port}'}
    lines = ''.join(f'{x1},{y1},{x2 - x1},{y2 - y1}\n' for x1, y1, x2, y2 in TRUTH).encode()
    status, _, content = request(server, '/import?name=walk.txt', 'POST', own, lines)
    assert (status, content) == (200, b'1 targets imported\n')
    assert len(Project(home).targets['1'].keys) == COUNT
    status, _, content = request(server, '/import?name=walk.txt', 'POST', own,
                                 lines[:lines.index(b'\n') + 1])
    assert status == 422 and b'frames' in content

    async def script(messages):
        await messages.until('target', lambda message: message['boxes'])
    talk(server, script)
    status, headers, content = request(server, '/export/otb.zip')
    assert status == 200 and content[:2] == b'PK'
    assert headers['Content-Disposition'] == 'attachment; filename="labels_otb.zip"'


def start_command(home):
    """Start `python -m training.label` on a project; return (process, port)."""
    process = subprocess.Popen(
        [sys.executable, '-u', '-m', 'training.label', str(home), '--port', '0', '--device',
         'cpu'], stdout=subprocess.PIPE, text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'})
    for line in process.stdout:
        if line.startswith('open '):
            return process, int(line.strip().rstrip('/').rpartition(':')[2])
    raise AssertionError(f'ended with {process.wait()}')


def test_a_killed_program_loses_nothing_confirmed(home):
    """SIGKILL at any time: what was answered with `done` is in the project."""
    process, port = start_command(home)
    confirmed = []

    async def script(messages):
        await messages.until('overview')
        for frame in range(0, COUNT, 3):
            answer = await messages.ask(**key_message(frame, '1' if frame else ''))
            assert answer['type'] == 'done'
            confirmed.append(frame)
        # In the middle of further changes.
        for frame in range(1, COUNT, 3):
            await messages.socket.send_json(key_message(frame, '1'))
        process.send_signal(signal.SIGKILL)
    try:
        talk(port, script)
    except ConnectionError:
        pass
    finally:
        process.kill()
        process.wait(PATIENCE)
    stored = set(Project(home).targets['1'].keys)
    assert set(confirmed) <= stored
    # The next program goes on with it.
    process, port = start_command(home)
    try:
        async def again(messages):
            return await messages.until('target')
        assert set(map(int, talk(port, again)['keys'])) == stored
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()


# ---- the page ----

@pytest.fixture
def label_page(page, serve_labels):
    """Return the Page of the project, opened, with the first frame shown."""
    page.server = serve_labels()
    page.open(page.server.address)
    wait_for_frame(page, 0)
    yield page
    assert [error for error in page.errors() if 'WebSocket' not in error] == []


def wait_for_frame(page, number):
    """Wait until a frame is chosen and drawn."""
    page.wait_until(lambda: page.script(
        "const {number, shown} = document.getElementById('frame-info').dataset;"
        'return number === shown && number === arguments[0]', str(number)), f'frame {number}')


def press(page, *keys):
    """Press keys one after the other, wherever the focus is."""
    from selenium.webdriver import ActionChains
    actions = ActionChains(page.driver, duration=10)
    for key in keys:
        actions.send_keys(key)
    actions.perform()


def keys_of(page, identity='1'):
    """Return the key frames of a target as stored."""
    target = page.server.source.project.targets.get(identity)
    return sorted(target.keys) if target else []


def wait_filled(page, identity='1'):
    """Wait until a target is filled in; return its boxes."""
    project = page.server.source.project
    page.wait_until(lambda: project.is_filled(identity), 'the filled-in boxes')
    page.wait_until(lambda: page.script(
        'return document.querySelector(`[data-id="${arguments[0]}"]`)?.dataset.state', identity)
        == 'filled', 'their arrival')
    return project.tracks[identity].boxes


def test_a_box_is_drawn_filled_in_and_corrected(label_page, save_screenshot):
    page = label_page
    press(page, 'D')        # ten frames on
    wait_for_frame(page, 10)
    page.drag(TRUTH[10], SIZE)
    page.wait_until(lambda: keys_of(page) == [10], 'the key frame')
    boxes = wait_filled(page)
    assert iou(boxes, TRUTH).mean() > .6
    press(page, 'D', 'D', 'd', 'd')
    wait_for_frame(page, 32)
    # Drawn anew where the pointer is outside of the box that is there.
    key = page.server.source.project
    press(page, 'x')
    page.wait_until(lambda: keys_of(page) == [10, 32], 'the absence')
    boxes = wait_filled(page)
    assert np.isnan(boxes[32:]).all() and np.isfinite(boxes[:32]).all()
    page.drag(TRUTH[32], SIZE)
    page.wait_until(lambda: key.targets['1'].keys[32].box is not None, 'the box')
    assert iou(np.array(key.targets['1'].keys[32].box), TRUTH[32]) > .9
    boxes = wait_filled(page)
    assert iou(boxes, TRUTH).mean() > .7
    save_screenshot(page, 'label.jpg')
    with page.as_phone():
        save_screenshot(page, 'label_phone.jpg')


def test_edges_and_the_whole_box_are_dragged(label_page):
    page = label_page
    page.drag(TRUTH[0], SIZE)
    page.wait_until(lambda: keys_of(page) == [0], 'the key frame')
    project = page.server.source.project
    x1, y1, x2, y2 = project.targets['1'].keys[0].box

    def drag(start, end):
        page.drag((*start, *end), SIZE)
    page.wait_until(lambda: page.targets()['1'][1], 'the box in the list')
    drag(((x1 + x2) / 2, (y1 + y2) / 2), ((x1 + x2) / 2 + 30, (y1 + y2) / 2 + 20))
    page.wait_until(lambda: project.targets['1'].keys[0].box[0] > x1 + 20, 'the moved box')
    moved = project.targets['1'].keys[0].box
    assert moved == pytest.approx((x1 + 30, y1 + 20, x2 + 30, y2 + 20), abs=2)
    page.wait_until(lambda: page.targets()['1'][1] == pytest.approx(moved, abs=.1), 'its arrival')
    drag((moved[2], (moved[1] + moved[3]) / 2), (moved[2] + 40, (moved[1] + moved[3]) / 2))
    page.wait_until(lambda: project.targets['1'].keys[0].box[2] > moved[2] + 20, 'the wider box')
    assert project.targets['1'].keys[0].box == pytest.approx(
        (moved[0], moved[1], moved[2] + 40, moved[3]), abs=2)


def test_everything_by_keys_of_one_hand(label_page):
    page = label_page
    project = page.server.source.project
    page.drag(TRUTH[0], SIZE)
    page.wait_until(lambda: keys_of(page) == [0], 'the key frame')
    wait_filled(page)
    press(page, 'd', 'd', 'd')
    wait_for_frame(page, 3)
    press(page, 'f')
    page.wait_until(lambda: keys_of(page) == [0, 3], 'the confirmed box')
    press(page, 'D', 'c')
    page.wait_until(lambda: keys_of(page) == [0, 3, 13], 'the occlusion')
    assert project.targets['1'].keys[13].occluded
    # The key reverses what the page shows.
    page.wait_until(lambda: '3 keys' in page.text('targets'), 'the occlusion in the page')
    press(page, 'd', 'd', 'c')
    page.wait_until(lambda: keys_of(page) == [0, 3, 13, 15], 'its end')
    assert not project.targets['1'].keys[15].occluded
    page.wait_until(lambda: '4 keys' in page.text('targets'), 'its end in the page')
    press(page, 'q')
    wait_for_frame(page, 13)
    press(page, 'r')
    page.wait_until(lambda: keys_of(page) == [0, 3, 15], 'the removal')
    press(page, 'z', 'z')
    page.wait_until(lambda: keys_of(page) == [0, 3, 13], 'two steps back')
    press(page, 'Z')
    page.wait_until(lambda: keys_of(page) == [0, 3, 13, 15], 'one step on')
    page.wait_until(lambda: '4 keys' in page.text('targets'), 'that step in the page')
    press(page, 'e')
    wait_for_frame(page, 15)
    press(page, 't')
    page.drag((200, 20, 260, 60), SIZE)
    page.wait_until(lambda: keys_of(page, '2') == [15], 'a second target')
    press(page, '1', 'a', 'x')
    page.wait_until(lambda: keys_of(page) == [0, 3, 13, 14, 15], 'the first target absent')
    page.wait_until(lambda: page.text('health') == 'all saved', 'all saved')


def test_uncertain_frames_are_found(label_page):
    """The tracker is replaced by one whose confidence falls."""
    page = label_page
    project = page.server.source.project
    page.drag(TRUTH[0], SIZE)
    page.wait_until(lambda: keys_of(page) == [0], 'the key frame')
    boxes = wait_filled(page)
    confidence = np.full(COUNT, .9)
    confidence[20:25] = (.4, .3, .1, .3, .4)
    project.tracks['1'] = type(project.tracks['1'])(boxes, confidence)
    page.server.track_changed('1')
    page.wait_until(lambda: '5 uncertain' in page.text('targets'), 'the uncertain frames')
    press(page, 'w')
    wait_for_frame(page, 22)
    press(page, 'w')
    wait_for_frame(page, 22)    # there are no others


def test_targets_are_renamed_and_removed(label_page):
    page = label_page
    project = page.server.source.project
    page.drag(TRUTH[0], SIZE)
    page.wait_until(lambda: keys_of(page) == [0], 'the key frame')
    name = '<img src=x onerror="window.hacked=1">'
    field = page.wait_until(
        lambda: (found := page.element('[data-id="1"] .name')).is_displayed() and found, 'a field')
    field.clear()
    field.send_keys(name)
    page.element('[data-id="1"] .class').send_keys('cup\n')
    page.wait_until(lambda: list(project.targets) == [name], 'the name')
    assert project.targets[name].label == 'cup'
    page.wait_until(lambda: name in page.text('targets'), 'its text')
    assert page.script('return window.hacked ?? null') is None
    # Letters typed into a field are no shortcuts.
    assert keys_of(page, name) == [0]
    page.wait_until(lambda: page.element('#targets .remove').is_displayed(), 'the button')
    page.element('#targets .remove').click()
    page.wait_until(lambda: not project.targets, 'the removal')


def test_touch_and_scrubbing_on_a_phone(label_page):
    page = label_page
    with page.as_phone():
        assert page.script('return document.documentElement.scrollWidth <= window.innerWidth')
        page.touch(TRUTH[0], SIZE)
        page.wait_until(lambda: keys_of(page) == [0], 'the key frame')
        assert iou(np.array(page.server.source.project.targets['1'].keys[0].box), TRUTH[0]) > .7
        left, top, width, height = page.script(
            "const box = document.getElementById('timeline').getBoundingClientRect();"
            'return [box.x, box.y, box.width, box.height]')
        point = {'x': left + 8 + (width - 16) * 30.5 / COUNT, 'y': top + height / 2}
        for kind, points in (('touchStart', [point]), ('touchEnd', [])):
            page.driver.execute_cdp_cmd('Input.dispatchTouchEvent', {
                'type': kind, 'touchPoints': points})
        wait_for_frame(page, 30)


def test_files_are_imported_and_exported_in_the_page(label_page, tmp_path):
    page = label_page
    project = page.server.source.project
    page.drag(TRUTH[0], SIZE)
    page.wait_until(lambda: keys_of(page) == [0], 'the key frame')
    wait_filled(page)
    write_labels(project.labels(), tmp_path / 'cvat', 'cvat', images=False)
    (found,) = read_labels(tmp_path / 'cvat')
    assert found.targets['1'].key.sum() == 1
    page.element('#import').send_keys(str(tmp_path / 'cvat/annotations.xml'))
    page.wait_until(lambda: '1 targets imported' in page.text('messages'), 'the answer')
    page.wait_until(lambda: keys_of(page, '2') == [0], 'the imported target')
    wait_filled(page, '2')
    page.script("document.getElementById('format').value = 'cvat'")
    page.element('#export').click()
    page.wait_until(lambda: 'exported as cvat' in page.text('messages'), 'the export')


def test_a_lost_server_is_shown_and_nothing_is_lost(label_page, serve_labels):
    page = label_page
    page.drag(TRUTH[0], SIZE)
    page.wait_until(lambda: keys_of(page) == [0], 'the key frame')
    port = page.server.port
    page.server.stop_thread()
    page.wait_until(lambda: 'is lost' in page.text('problem'), 'the problem')
    server = serve_labels(port=port)
    page.wait_until(lambda: page.text('connection') == 'connected', 'the connection')
    page.wait_until(lambda: '1' in page.targets(), 'the target')
    assert sorted(server.source.project.targets['1'].keys) == [0]
    page.errors()       # the failed connections
