# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The page's server in this process, with a source that a test directs."""

import asyncio
import json
from threading import Event, Thread

from aiohttp import ClientSession
import numpy as np
import pytest
from re3_web.server import PageServer, Settings
from re3_web.source import CameraState, Frame, ShownTrack, SourceState

PATIENCE = 60


class Served:
    """A PageServer in a thread of its own, from `start` to `stop`."""

    def __init__(self, source, **settings):
        self._source, self._settings = source, Settings(**{'port': 0, **settings})
        self._ready, self._loop, self._end = Event(), None, None
        self._thread = Thread(target=asyncio.run, args=[self._run()], daemon=True)

    async def _run(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self.server = PageServer(self._source, self._settings)
        await self.server.start()
        self._ready.set()
        await self._end.wait()
        await self.server.stop()

    def start(self):
        """Start; return this."""
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def stop(self):
        """Stop, and wait for the end."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    @property
    def address(self):
        """The URL of the page, with its token."""
        return self.server.address

    @property
    def port(self):
        """The TCP port."""
        return self.server.port


class FakeSource:
    """Delivers what a test asks for, and notes what it was asked to do."""

    title, buffer_seconds = 'fake', 10.

    def __init__(self, *cameras):
        self.asked, self.watched = [], []
        self.cameras = [CameraState(name) for name in cameras or ('camera',)]
        self.enabled = True
        self.started = Event()

    def start(self, receiver):
        self.receiver = receiver
        self.started.set()

    def stop(self):
        self.asked.append('stop')

    def state(self):
        return SourceState(self.cameras, self.enabled)

    def watch(self, cameras):
        self.watched.append(set(cameras))

    def init(self, camera, target_id, box, stamp):
        self.asked.append(('init', camera, target_id, box, stamp))

    def remove(self, camera, target_id):
        self.asked.append(('remove', camera, target_id))

    def call(self, service):
        self.asked.append(service)
        return service != 'reset', f'{service} answered'

    def deliver(self, stamp, tracks=(), camera='camera', size=(160, 120), rgb=None):
        """Offer a frame with an image of random pixels."""
        width, height = size
        rgb = rgb or (lambda: np.random.default_rng(stamp).integers(
            0, 255, (height, width, 3), np.uint8))
        self.receiver.offer(camera, Frame(stamp, tuple(
            ShownTrack(name, box, .9) for name, box in tracks), size, rgb))


@pytest.fixture
def source():
    """Return a FakeSource."""
    return FakeSource()


@pytest.fixture
def serve():
    """Return a function that serves the page for a source until the end of the test."""
    served = []

    def start(source, **settings):
        served.append(Served(source, **settings).start())
        return served[-1]
    yield start
    for one in served:
        one.stop()


class Client:
    """A viewer without a browser."""

    def __init__(self, socket):
        self.socket = socket
        self.frames, self.messages = [], []

    async def read(self, condition):
        """Read until `condition()` is true."""
        while not condition():
            await self.read_one()

    async def read_one(self):
        """Read one message, into `frames` (pairs of header and JPEG) or `messages`."""
        item = await asyncio.wait_for(self.socket.receive(), PATIENCE)
        if isinstance(item.data, bytes):
            length = int.from_bytes(item.data[:4], 'big')
            self.frames.append((json.loads(item.data[4:4 + length]), item.data[4 + length:]))
        elif isinstance(item.data, str):
            self.messages.append(json.loads(item.data))
        else:
            raise ConnectionError(f'connection ended: {item}')

    async def send(self, **message):
        """Send a message."""
        await self.socket.send_json(message)

    async def ack(self):
        """Acknowledge the last frame."""
        await self.send(type='ack', sequence=self.frames[-1][0]['sequence'])

    def notices(self):
        """Return the texts of all notices."""
        return [message['text'] for message in self.messages if message['type'] == 'notice']

    async def answer_to(self, text):
        """Send a text; return the notice that answers it."""
        before = len(self.notices())
        await self.socket.send_str(text)
        await self.read(lambda: len(self.notices()) > before)
        return self.notices()[-1]


@pytest.fixture
def connect():
    """Return a context manager, for coroutines, that gives a Client of a Served page."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def connected(served, camera='camera', side=160, headers=None):
        address = f'http://localhost:{served.port}'
        headers = {'Origin': address} if headers is None else headers
        async with ClientSession() as session, session.ws_connect(
                f'{address}/ws', headers=headers, autoping=True) as socket:
            client = Client(socket)
            await client.read(lambda: len(client.messages) >= 2)    # hello and state
            if camera is not None:
                await client.send(type='watch', camera=camera, side=side)
            yield client
    return connected


