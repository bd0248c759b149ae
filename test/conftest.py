# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""A real browser, headless, for the tests of the web page; skipped where there is none."""

from contextlib import contextmanager
import fcntl
import os
from pathlib import Path
import shutil
import sys
import tempfile
import time

import pytest

PATIENCE = 120
FLAGS = ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--disable-dev-shm-usage', '--window-size=1360,900',
         # Of foreign pages: the server itself must refuse them.
         '--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets')
# Notes box and frame number of a target in the page whenever they change.
RECORD = """
window.recorded = [];
const id = arguments[0], frameInfo = document.getElementById('frame-info');
new MutationObserver(() => {
  const item = [...document.querySelectorAll('#targets li')].find((li) => li.dataset.id === id);
  if (item) window.recorded.push([frameInfo.dataset.number, frameInfo.dataset.stamp,
                                  item.dataset.box.split(' ').map(Number)]);
}).observe(document.getElementById('targets'),
           {subtree: true, childList: true, attributes: true, attributeFilter: ['data-box']});
"""


def reserve_domain():
    """
    Return a ROS domain that no other process of tests uses, and the file whose lock reserves it.

    Above 101 the ports may be in use.
    """
    for step in range(101):
        number = 1 + (os.getpid() + step) % 101
        try:
            file = open(Path(tempfile.gettempdir()) / f're3_ros_test_domain_{number}', 'w')
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:     # reserved, or another user's file
            continue
        return number, file
    raise OSError('all ROS domains are in use')


def pytest_configure(config):
    """Give each process of the tests a ROS domain of its own."""
    number, config.ros_domain_lock = reserve_domain()
    os.environ['ROS_DOMAIN_ID'] = str(number)


def pytest_unconfigure(config):
    config.ros_domain_lock.close()


def pytest_addoption(parser):
    parser.addoption('--screenshots', default='', metavar='FOLDER',
                     help='have the tests of the web page write screenshots of it')


class Page:
    """The page in a browser; waits for conditions, never for fixed times."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address):  # noqa: A003
        """Open the page and wait until it is connected."""
        self.driver.get(address)
        self.wait_until(lambda: self.text('connection') == 'connected', 'a connection')
        return self

    def wait_until(self, condition, what):
        """Wait until `condition()` is true; return what it returned."""
        end = time.monotonic() + PATIENCE
        while not (result := condition()):
            assert time.monotonic() < end, f'waited for {what}; {self.describe()}'
            time.sleep(.05)
        return result

    def describe(self):
        """Return the texts of the page, for failures."""
        shown = {name: self.text(name) for name in (
            'connection', 'problem', 'targets', 'messages', 'health')}
        return f'the page shows {shown}, the browser logged {self.errors()}'

    def errors(self):
        """Return the errors that the browser logged since the last call."""
        return [entry['message'] for entry in self.driver.get_log('browser')
                if entry['level'] == 'SEVERE']

    def script(self, code, *arguments):
        """Run JavaScript; return its result."""
        return self.driver.execute_script(code, *arguments)

    def element(self, selector):
        """Return the element of a CSS selector."""
        return self.driver.find_element('css selector', selector)

    def text(self, identity):
        """Return the text of the element with this id, as shown."""
        return self.element(f'#{identity}').text

    def stamp(self):
        """Return the stamp of the newest frame as text; '' before the first."""
        return self.script("return document.getElementById('frame-info').dataset.stamp ?? ''")

    def wait_for_image(self):
        """Wait until an image is drawn."""
        self.wait_until(lambda: self.script(
            "return document.getElementById('waiting').hidden"), 'an image')

    def targets(self):
        """Return {id: (state, box)} of the list of targets."""
        rows = self.script("return [...document.querySelectorAll('#targets li')].map((li) => "
                           '[li.dataset.id, li.dataset.state, li.dataset.box])')
        return {identity: (state, [float(side) for side in box.split()])
                for identity, state, box in rows}

    def to_client(self, x, y, size):
        """Return the window's coordinates of a pixel of the image; `size` is its (w, h)."""
        left, top, width, height = self.script(
            "const box = document.getElementById('image').getBoundingClientRect();"
            'return [box.x, box.y, box.width, box.height]')
        scale = min(width / size[0], height / size[1])
        return (left + (width - scale * size[0]) / 2 + scale * x,
                top + (height - scale * size[1]) / 2 + scale * y)

    def drag(self, box, size):
        """Drag an `xyxy` box of image pixels with the mouse."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        self.script("document.getElementById('image').scrollIntoView({block: 'nearest'})")
        actions = ActionBuilder(self.driver, duration=50)
        mouse = actions.pointer_action
        first, last = self.to_client(*box[:2], size), self.to_client(*box[2:], size)
        mouse.move_to_location(*map(round, first)).pointer_down()
        mouse.move_to_location(*(round((a + b) / 2) for a, b in zip(first, last, strict=True)))
        mouse.move_to_location(*map(round, last)).pointer_up()
        actions.perform()

    def touch(self, box, size):
        """Drag an `xyxy` box of image pixels with a finger."""
        first, last = self.to_client(*box[:2], size), self.to_client(*box[2:], size)
        for kind, points in (('touchStart', [first]), ('touchMove', [last]), ('touchEnd', [])):
            self.driver.execute_cdp_cmd('Input.dispatchTouchEvent', {
                'type': kind, 'touchPoints': [{'x': x, 'y': y} for x, y in points]})

    @contextmanager
    def as_phone(self):
        """Have a small touch screen in dark mode for the `with` block."""
        def command(name, **values):
            self.driver.execute_cdp_cmd(f'Emulation.{name}', values)
        try:
            command('setDeviceMetricsOverride', width=390, height=844, deviceScaleFactor=2,
                    mobile=True)
            command('setTouchEmulationEnabled', enabled=True)
            command('setEmulatedMedia', features=[
                {'name': 'prefers-color-scheme', 'value': 'dark'}])
            self.wait_until(lambda: self.script(
                "const image = document.getElementById('image');"
                'return image.clientWidth < 390 && image.width > image.clientWidth'), 'the layout')
            yield
        finally:
            command('clearDeviceMetricsOverride')
            command('setTouchEmulationEnabled', enabled=False)
            command('setEmulatedMedia', features=[])

    def record(self, identity):
        """Begin to record the boxes of a target."""
        self.script(RECORD, identity)

    def recorded(self):
        """Return the recorded [frame number, stamp, box] rows."""
        return self.script('return window.recorded')


@pytest.fixture(scope='session')
def driver(tmp_path_factory):
    """Return the driver of a headless Chromium with a fresh profile."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='needs selenium')
    browser = shutil.which('chromium') or shutil.which('chromium-browser')
    helper = shutil.which('chromedriver')
    if not browser or not helper:
        pytest.skip('needs chromium and chromedriver, see scripts/install_browser.sh')
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f'--user-data-dir={tmp_path_factory.mktemp("browser")}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(helper))
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture
def page(driver):
    """Return a Page on an empty tab."""
    driver.get('about:blank')
    driver.get_log('browser')
    return Page(driver)


@pytest.fixture
def save_screenshot(request):
    """Return a function that writes a screenshot to the folder `--screenshots`, if given."""
    def save(page, name):
        folder = request.config.getoption('--screenshots')
        if folder:
            import cv2
            import numpy as np
            data = np.frombuffer(page.driver.get_screenshot_as_png(), np.uint8)
            cv2.imwrite(str(Path(folder) / name), cv2.imdecode(data, cv2.IMREAD_COLOR),
                        (cv2.IMWRITE_JPEG_QUALITY, 88))
    return save


@pytest.fixture(scope='session')
def demo_clips():
    """Return the folder with the demo's clips; skip where they are missing."""
    folder = Path(sys.prefix) / 'share' / 're3_demo'
    if not folder.is_dir():
        pytest.skip('needs the clips that make setup downloads')
    return folder
