# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The page in a real browser, with the tracker on the demo's clip and with a directed source."""

import numpy as np
import pytest
from re3_core import Tracker
from re3_core.boxes import iou
from re3_core.io.video import VideoFile
from re3_ros.demo.clips import load_annotation
from re3_web.source import ERROR
from re3_web.video import VideoReader, VideoSource

SIZE = (640, 480)


# ---- the tracker on the demo's clip ----

class HeldClip(VideoFile):
    """The demo's clip as a camera that holds frame `until`, and can be lost."""

    def __init__(self, path, annotation, rate=20.):
        super().__init__(path, annotation['start'], annotation['end'])
        self.rate = rate
        self.until = annotation['start']
        self.lost = False
        self._held = None

    def read(self):
        if self.lost:
            raise ValueError('the cable is unplugged')
        if self.index < self.until:
            self._held = super().read()
        return self._held.copy()


@pytest.fixture
def clip(demo_clips, root_config):
    """Return (HeldClip, annotation) of the demo's default clip."""
    annotation = load_annotation(root_config / 'demo' / 'bikes.yaml')
    return HeldClip(demo_clips / 'bikes.mp4', annotation), annotation


@pytest.fixture
def root_config(request):
    """Return the folder config of the repository."""
    return request.config.rootpath / 'config'


@pytest.fixture
def clip_page(clip, serve, page):
    """Return the Page that shows the clip, opened."""
    held, annotation = clip

    def opened():
        if held.lost:
            raise ValueError('the cable is unplugged')
        return held
    source = VideoSource('bikes.mp4', VideoReader(opened, held), Tracker(device='cpu'))
    page.size = tuple(annotation['size'])
    page.served = serve(source, rate=60)
    page.open(page.served.address)
    page.wait_for_image()
    return page


def play_to(page, held, last):
    """Play the clip up to a frame, each one once the page has the frame before."""
    for number in range(held.until, last + 1):
        held.until = number
        page.wait_until(lambda number=number: page.script(
            "return document.getElementById('frame-info').dataset.number") == str(number),
            f'frame {number}')


def test_a_box_drawn_in_the_page_is_followed(clip, clip_page):
    held, annotation = clip
    page = clip_page
    first = page.stamp()
    page.wait_until(lambda: page.stamp() != first, 'another frame')
    page.element('#name').send_keys('bollard')
    page.record('bollard')
    page.drag(annotation['boxes'][annotation['start']], page.size)
    page.wait_until(lambda: 'bollard' in page.targets(), 'the target')
    play_to(page, held, annotation['end'] - 1)
    boxes = {int(number): box for number, _, box in page.recorded()}
    overlaps = [float(iou(np.array(boxes[number]), box))
                for number, box in annotation['boxes'].items() if number > annotation['start']]
    assert np.mean(overlaps) >= .6
    assert page.targets()['bollard'][0] == 'tracked'
    assert page.errors() == []


def test_screenshots_of_the_page_with_a_drawn_box(
        demo_clips, root_config, serve, page, save_screenshot):
    """Not of the default clip: images of this one may be published, see docs/demo.md."""
    annotation = load_annotation(root_config / 'demo' / 'bigbuckbunny.yaml')
    held = HeldClip(demo_clips / 'bigbuckbunny.mp4', annotation, rate=10.)
    source = VideoSource('bigbuckbunny.mp4', VideoReader(lambda: held, held),
                         Tracker(device='cpu'))
    page.open(serve(source, rate=60).address)
    page.wait_for_image()
    page.element('#name').send_keys('rabbit')
    page.drag(annotation['boxes'][annotation['start']], tuple(annotation['size']))
    page.wait_until(lambda: 'rabbit' in page.targets(), 'the target')
    last = 72    # looks back over its shoulder
    play_to(page, held, last)
    page.element('[data-id="rabbit"] .select').click()
    save_screenshot(page, 'web.jpg')
    with page.as_phone():
        save_screenshot(page, 'web_phone.jpg')
    assert page.targets()['rabbit'][0] == 'tracked'
    assert page.errors() == []


def test_a_box_on_a_paused_image_goes_out_with_its_stamp(clip, clip_page):
    held, annotation = clip
    page = clip_page
    page.element('#pause').click()
    page.wait_until(lambda: 'paused' in page.text('frame-info'), 'the pause')
    play_to(page, held, annotation['start'] + 15)
    page.drag(annotation['boxes'][annotation['start']], page.size)
    page.wait_until(lambda: page.targets(), 'the target')
    page.element('#pause').click()
    last = max(number for number in annotation['boxes'] if number <= held.until)
    play_to(page, held, last + 3)
    (state, box), = page.targets().values()
    assert state == 'tracked'
    assert iou(np.array(box), annotation['boxes'][last + 3]) >= .6


def test_a_lost_camera_is_said_and_comes_back(clip, clip_page):
    held, page = clip[0], clip_page
    held.lost = True
    page.wait_until(lambda: 'the cable is unplugged' in page.text('problem'), 'the problem')
    held.lost = False
    before = page.stamp()
    page.wait_until(lambda: page.stamp() != before, 'new frames')
    page.wait_until(lambda: not page.element('#problem').is_displayed(), 'the problem to go')


# ---- the page alone ----

@pytest.fixture
def fake(source, serve, page):
    """Return the page that shows a FakeSource, opened, with an image and two targets."""
    page.source, page.size = source, SIZE
    page.served = serve(source)
    page.open(page.served.address)
    page.wait_until(lambda: source.watched and source.watched[-1], 'a viewer')
    source.deliver(11, [('cup', (100., 100., 200., 180.)), ('mug', (120., 110., 160., 150.))],
                   size=SIZE)
    page.wait_for_image()
    page.wait_until(lambda: set(page.targets()) == {'cup', 'mug'}, 'the targets')
    yield page
    assert [error for error in page.errors() if 'WebSocket' not in error] == []


def asked(page, *request):
    """Wait until the source was asked for this last."""
    page.wait_until(lambda: page.source.asked[-1:] == [request], f'{request}')


def last_box(page):
    """Wait for an init request; return (id, box, stamp)."""
    page.wait_until(lambda: page.source.asked and page.source.asked[-1][0] == 'init', 'a box')
    return page.source.asked[-1][2:]


def test_dragging_in_any_direction_gives_the_box_in_image_pixels(fake):
    for box in ((300, 200, 400, 300), (400, 300, 300, 200)):
        fake.source.asked.clear()
        fake.drag(box, SIZE)
        target_id, found, stamp = last_box(fake)
        assert found == pytest.approx((300, 200, 400, 300), abs=2)
        assert (target_id, stamp) == ('', 11)


def test_the_image_is_held_while_a_box_is_drawn(fake):
    from selenium.webdriver import ActionChains
    x, y = (round(side) for side in fake.to_client(300, 200, SIZE))
    actions = ActionChains(fake.driver).w3c_actions
    actions.pointer_action.move_to_location(x, y).pointer_down()
    actions.perform()
    fake.source.deliver(12, [('late', (1., 1., 20., 20.))], size=SIZE)
    fake.wait_until(lambda: set(fake.targets()) == {'late'}, 'the new frame in the list')
    actions = ActionChains(fake.driver).w3c_actions
    actions.pointer_action.move_to_location(x + 50, y + 50).pointer_up()
    actions.perform()
    assert last_box(fake)[2] == 11
    fake.source.asked.clear()
    fake.drag((300, 200, 400, 300), SIZE)
    assert last_box(fake)[2] == 12


def test_select_restart_rename_remove(fake):
    x, y = fake.to_client(130, 120, SIZE)
    fake.script('window.scrollTo(0, 0)')
    from selenium.webdriver import ActionChains
    actions = ActionChains(fake.driver).w3c_actions
    actions.pointer_action.move_to_location(round(x), round(y)).click()
    actions.perform()
    mug = '[data-id="mug"]'
    pressed = fake.element(f'{mug} .select')
    fake.wait_until(lambda: pressed.get_attribute('aria-pressed') == 'true', 'the selection')
    fake.element(f'{mug} .restart').click()
    fake.drag((300, 200, 400, 300), SIZE)
    assert last_box(fake)[0] == 'mug'
    field = fake.element(f'{mug} .rename input')
    field.clear()
    field.send_keys('glass\n')
    fake.wait_until(lambda: fake.source.asked[-1][:3] == ('init', 'camera', 'glass'), 'a rename')
    assert fake.source.asked[-1][3] == (120., 110., 160., 150.)
    fake.element(f'{mug} .remove').click()
    asked(fake, 'remove', 'camera', 'mug')


def test_services_and_their_answers(fake):
    fake.element('#enable').click()
    fake.wait_until(lambda: 'disable answered' in fake.text('messages'), 'the answer')
    fake.source.enabled = False
    fake.wait_until(lambda: fake.text('enable') == 'Resume tracking', 'the button to change')
    fake.element('#reset').click()
    fake.element('#confirm-no').click()
    fake.element('#reset').click()
    fake.element('#confirm-yes').click()
    fake.wait_until(lambda: 'reset: reset answered' in fake.text('messages'), 'the refusal')
    assert fake.source.asked == ['disable', 'reset']


def test_all_by_keyboard(fake):
    from selenium.webdriver.common.keys import Keys
    image = fake.element('#image')
    image.send_keys('n')
    fake.wait_until(lambda: fake.script(
        "return document.querySelector('[data-id=cup] .select').ariaPressed") == 'true', 'cup')
    image.send_keys('b', Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.SHIFT + Keys.ARROW_RIGHT,
                    Keys.NULL, Keys.ENTER)
    step = SIZE[0] / 100
    assert last_box(fake)[1] == pytest.approx(
        (100 + step, 100 + step, 200 + 2 * step, 180 + step), abs=.1)
    image.send_keys('b', Keys.ESCAPE, Keys.DELETE)
    asked(fake, 'remove', 'camera', 'cup')
    image.send_keys(' ')
    fake.wait_until(lambda: fake.source.watched[-1] == set(), 'the pause')


def colors(page, identity):
    """Return the colors in a canvas, as [r, g, b, a]."""
    return page.script(
        'const canvas = document.getElementById(arguments[0]);'
        "const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        'const found = new Set(); for (let i = 0; i < data.length; i += 4)'
        "found.add(data.slice(i, i + 4).join(' ')); return [...found]", identity)


def test_the_plot_follows_time_and_theme_without_frames(fake):
    light = '211 218 225 255'
    fake.wait_until(lambda: light in colors(fake, 'plot'), 'the lines of the axis')
    with fake.as_phone():
        fake.wait_until(lambda: light not in colors(fake, 'plot'), 'the dark theme')
    # New points: the first ones leave the plot after 30 s, after which it does not change.
    stamp = fake.stamp()
    fake.source.deliver(12, [('cup', (100., 100., 200., 180.))], size=SIZE)
    fake.wait_until(lambda: fake.stamp() != stamp, 'the image')
    before = fake.script("return document.getElementById('plot').toDataURL()")
    fake.wait_until(lambda: fake.script(
        "return document.getElementById('plot').toDataURL()") != before, 'a later plot')


def test_labels_stay_in_the_image_and_do_not_cover_the_target(fake):
    fake.script("""
        const fill = CanvasRenderingContext2D.prototype.fillRect;
        CanvasRenderingContext2D.prototype.fillRect = function (...box) {
          if (this.canvas.id === 'image') window.label = box;
          fill.apply(this, box);
        };""")
    width, height = fake.script(
        "const {clientWidth, clientHeight} = document.getElementById('image');"
        'return [clientWidth, clientHeight]')
    scale = min(width / SIZE[0], height / SIZE[1])
    for stamp, box in enumerate([(300., 2., 400., 100.), (600., 200., 640., 300.),
                                 (-200., 300., 30., 400.), (0., 0., 640., 480.)], 12):
        fake.source.deliver(stamp, [('a name that is not short', box)], size=SIZE)
        fake.wait_until(lambda stamp=stamp: fake.stamp() == str(stamp), 'the frame')
        left, top, wide, high = fake.script('return window.label')
        assert 0 <= left < left + wide <= width and 0 <= top < top + high <= height
        whole = stamp == 15    # there is no place beside this box
        y1, y2 = ((height - scale * SIZE[1]) / 2 + scale * side for side in box[1::2])
        assert (top + high <= y1 or top >= y2) is not whole


def test_on_a_phone_by_touch_in_the_dark(fake):
    with fake.as_phone():
        assert fake.script('return document.documentElement.scrollWidth <= window.innerWidth')
        fake.touch((300, 200, 400, 300), SIZE)
        assert last_box(fake)[1] == pytest.approx((300, 200, 400, 300), abs=4)
        assert fake.script('return getComputedStyle(document.body).backgroundColor') == \
            'rgb(16, 21, 26)'


def test_several_cameras_as_tabs(serve, source, page):
    from re3_web.source import CameraState
    source.cameras = [CameraState('front'), CameraState('rear', problems=['no image for 4 s'])]
    page.open(serve(source).address)
    page.wait_until(lambda: source.watched[-1:] == [{'front'}], 'the first camera')
    page.element('#cameras button:nth-child(2)').click()
    page.wait_until(lambda: source.watched[-1] == {'rear'}, 'the second camera')
    page.wait_until(lambda: page.text('problem') == 'no image for 4 s', 'its problem')


def test_figures_and_pause_of_a_camera_end_with_it(serve, source, page):
    from re3_web.source import CameraState
    source.cameras = [CameraState('front'), CameraState('rear')]
    page.open(serve(source).address)
    page.wait_until(lambda: source.watched[-1:] == [{'front'}], 'the first camera')
    source.deliver(11, camera='front', size=SIZE)
    page.wait_for_image()
    source.cameras[0].message = 'tracking'
    page.wait_until(lambda: 'images/s' in page.text('figures'), 'the figures')
    page.wait_until(lambda: 'images/s' not in page.text('figures'), 'their end without images')
    source.deliver(12, camera='front', size=SIZE)
    page.wait_until(lambda: 'images/s' in page.text('figures'), 'the figures')
    page.element('#pause').click()
    page.wait_until(lambda: 'paused' in page.text('frame-info'), 'the pause')
    page.element('#cameras button:nth-child(2)').click()
    page.wait_until(lambda: source.watched[-1] == {'rear'}, 'the second camera')
    page.wait_until(lambda: 'images/s' not in page.text('figures'), 'the end of the figures')
    assert page.text('frame-info') == ''


def test_targets_have_different_colors(fake):
    names = [f'target {number}' for number in range(6)]
    fake.source.deliver(12, [(name, (9., 9., 90., 90.)) for name in names], size=SIZE)
    fake.wait_until(lambda: set(fake.targets()) == set(names), 'the targets')
    swatches = fake.script("return [...document.querySelectorAll('.swatch')].map("
                           '(swatch) => swatch.style.background)')
    assert len(set(swatches)) == 6


def test_a_lost_server_is_said_and_found_again(fake, serve, source):
    port = fake.served.port
    fake.served.stop()
    fake.wait_until(lambda: 'is lost' in fake.text('problem'), 'the problem')
    assert fake.text('connection') == 'connection lost'
    serve(source, port=port)
    fake.wait_until(lambda: fake.text('connection') == 'connected', 'the connection')
    source.deliver(99, [('cup', (1., 1., 20., 20.))], size=SIZE)
    fake.wait_until(lambda: fake.stamp() == '99', 'a frame')
    assert not fake.element('#problem').is_displayed()
    fake.errors()    # the failed connections


def test_names_are_text_and_nothing_else(fake):
    name = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'[:64]
    fake.source.cameras[0].message = name
    fake.source.cameras[0].problems = [name]
    fake.source.receiver.notice(ERROR, name)
    fake.source.deliver(12, [(name, (1., 1., 20., 20.))], size=SIZE)
    fake.wait_until(lambda: set(fake.targets()) == {name}, 'the target')
    fake.wait_until(lambda: name in fake.text('messages') and name in fake.text('problem')
                    and name in fake.text('health'), 'the texts')
    fake.element('#name').send_keys(name)
    fake.drag((300, 200, 400, 300), SIZE)
    assert last_box(fake)[0] == name
    assert fake.script('return window.hacked ?? null') is None
    assert fake.script("return document.querySelectorAll('main img, main script').length") == 0
    with pytest.raises(Exception, match='TrustedHTML'):
        fake.script("document.body.innerHTML = '<p>'")
    fake.errors()    # the last line is one


def test_other_pages_cannot_connect(fake):
    fake.driver.get('about:blank')    # has no policy of its own that would forbid it
    state = fake.driver.execute_async_script(
        'const [address, done] = arguments; const socket = new WebSocket(address);'
        "socket.onopen = () => done('open'); socket.onclose = () => done('closed');",
        f'ws://localhost:{fake.served.port}/ws')
    assert state == 'closed'
    assert '403' in ''.join(fake.errors())
