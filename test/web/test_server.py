# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The server over real HTTP and WebSockets: viewers, back-pressure, limits, attacks."""

import asyncio
import logging
import socket as sockets
import threading

from aiohttp import ClientSession, WSServerHandshakeError
import cv2
import numpy as np
import pytest
from re3_web.messages import MAX_MESSAGE
from re3_web.pace import MAX_IN_FLIGHT
from re3_web.server import MAX_REFUSED, MESSAGE_BURST, Settings
from re3_web.source import CameraState

BOX = (10., 20., 30., 50.)
INIT = '{"type": "init", "camera": "camera", "id": "cup", "box": [10, 20, 30, 50], "stamp": "5"}'


async def get(served, path='/', headers=None, method='GET', cookies=None, redirects=True):
    """Return (status, headers, text) of a request."""
    async with ClientSession(cookies=cookies) as session, session.request(
            method, f'http://127.0.0.1:{served.port}{path}', headers=headers,
            allow_redirects=redirects) as response:
        return response.status, response.headers, await response.text()


async def eventually(condition):
    """Wait until `condition()` is true."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(.01)
    raise AssertionError('waited in vain')


# ---- pages ----

def test_all_files_of_the_page_come_with_a_strict_policy(serve, source):
    served = serve(source)
    for path, kind in (('/', 'text/html'), ('/main.js', 'text/javascript'),
                       ('/style.css', 'text/css'), ('/icon.svg', 'image/svg+xml')):
        status, headers, _ = asyncio.run(get(served, path))
        assert status == 200
        assert headers['Content-Type'].startswith(kind)
        policy = headers['Content-Security-Policy']
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert 'unsafe' not in policy
        assert headers['X-Content-Type-Options'] == 'nosniff'
        assert headers['Referrer-Policy'] == 'no-referrer'


@pytest.mark.parametrize('path', [
    '/server.py', '/../server.py', '/%2e%2e/server.py', '/..%2fserver.py', '/main.js/',
    '//etc/passwd', '/static/main.js', '/index.html%00'])
def test_no_other_files(serve, source, path):
    status, headers, text = asyncio.run(get(serve(source), path))
    assert (status, text) == (404, 'Not Found\n')
    assert 'Content-Security-Policy' in headers


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'OPTIONS'])
def test_no_other_methods(serve, source, method):
    served = serve(source)
    own = {'Host': f'localhost:{served.port}', 'Origin': f'http://localhost:{served.port}'}
    assert asyncio.run(get(served, method=method, headers=own))[0] == 405
    assert asyncio.run(get(served, method=method))[0] == 403


def test_a_rebound_host_name_is_refused(serve, source):
    served = serve(source)
    for path in ('/', '/main.js', '/ws'):
        status, _, text = asyncio.run(get(served, path, {'Host': 'evil.example'}))
        assert status == 403
        assert 'evil.example' in text


def test_the_token_becomes_a_cookie_that_scripts_cannot_read(serve, source):
    served = serve(source, token='chosenchosen')

    async def visit():
        assert (await get(served))[0] == 401
        assert (await get(served, '/main.js?token=chosenchosen'))[0] == 401
        assert (await get(served, '/?token=chosenchoser'))[0] == 401
        assert (await get(served, cookies={'re3_token': 'chosenchosen'}))[0] == 401
        status, headers, _ = await get(served, '/?token=chosenchosen', redirects=False)
        assert (status, headers['Location']) == (303, './')
        cookie = headers['Set-Cookie']
        assert 'HttpOnly' in cookie
        assert 'SameSite=Lax' in cookie
        name = f're3_token_{served.port}'
        assert (await get(served, cookies={name: 'chosenchosen'}))[0] == 200
    asyncio.run(visit())
    assert served.address.endswith('?token=chosenchosen')


def test_the_websocket_needs_the_token_too(serve, source, connect):
    served = serve(source, token='chosenchosen')
    own = {'Origin': f'http://localhost:{served.port}'}

    async def visit():
        with pytest.raises(WSServerHandshakeError, match='401'):
            async with connect(served):
                pass
        cookie = {**own, 'Cookie': f're3_token_{served.port}=chosenchosen'}
        async with connect(served, headers=cookie) as client:
            assert client.messages[0]['type'] == 'hello'
    asyncio.run(visit())


@pytest.mark.parametrize('origin', [None, 'null', 'http://evil.example', 'http://localhost:1'])
def test_websockets_of_other_pages_are_refused(serve, source, connect, origin):
    async def visit():
        with pytest.raises(WSServerHandshakeError, match='403'):
            async with connect(serve(source), headers={'Origin': origin} if origin else {}):
                pass
    asyncio.run(visit())


@pytest.mark.parametrize('settings', [
    {'port': 70000}, {'rate': 0}, {'max_viewers': 0}, {'token': 'short'}, {'token': 'a b' * 8},
    {'rate': float('nan')}])
def test_bad_settings_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Settings(**settings)


def test_a_port_in_use_is_an_error_that_names_it(serve, source):
    from re3_web.server import PageServer

    async def start_second(port):
        await PageServer(source, Settings(port=port)).start()
    port = serve(source).port
    with pytest.raises(OSError, match=str(port)):
        asyncio.run(start_second(port))


# ---- frames ----

def test_frames_arrive_as_jpeg_with_their_tracks(serve, source, connect):
    served = serve(source)

    async def visit():
        async with connect(served) as client:
            await eventually(lambda: {'camera'} in source.watched)
            source.deliver(17 * 10 ** 17 + 1, [('cup', BOX)])
            await client.read(lambda: client.frames)
            return client.frames[0]
    header, jpeg = asyncio.run(visit())
    assert header['stamp'] == '1700000000000000001'    # more digits than a JavaScript number has
    assert header['tracks'] == [
        {'id': 'cup', 'class_id': '', 'box': list(BOX), 'confidence': .9}]
    assert header['size'] == [160, 120]
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)


def test_a_slow_viewer_gets_fewer_frames_but_never_an_older_one(serve, source, connect):
    served = serve(source, rate=120)

    async def visit():
        async with connect(served) as fast, connect(served) as slow:
            await eventually(lambda: source.watched and len(served.server.hub.viewers) == 2)
            newest_when_read = []
            for stamp in range(1, 101):
                source.deliver(stamp)
                await fast.read(lambda stamp=stamp: fast.frames
                                and fast.frames[-1][0]['stamp'] == str(stamp))
                await fast.ack()
                if stamp % 10 == 0:    # the slow one shows a frame only now
                    before = len(slow.frames)
                    await slow.read(lambda before=before: len(slow.frames) > before)
                    newest_when_read.append(stamp)
                    await slow.ack()
            return ([int(header['stamp']) for header, _ in fast.frames],
                    [int(header['stamp']) for header, _ in slow.frames], newest_when_read)
    fast, slow, newest = asyncio.run(visit())
    assert fast == list(range(1, 101))
    assert len(slow) == 10
    assert slow == sorted(set(slow))
    # Each one was the newest when it was sent, which was after an acknowledgement.
    assert all(stamp >= before for stamp, before in zip(
        slow[MAX_IN_FLIGHT:], newest, strict=False)), (slow, newest)


def test_a_viewer_that_reads_nothing_holds_up_neither_the_others_nor_the_memory(
        serve, source, connect):
    served = serve(source, rate=120)

    async def visit():
        async with connect(served) as deaf, connect(served) as client:
            for stamp in range(1, 301):
                source.deliver(stamp, size=(640, 480))
                await client.read(lambda stamp=stamp: client.frames
                                  and client.frames[-1][0]['stamp'] == str(stamp))
                await client.ack()
            waiting = next(viewer for viewer in served.server.hub.viewers
                           if not viewer.pace.free)
            assert len(waiting.pace._in_flight) <= 4
            await deaf.read(lambda: deaf.frames)
    asyncio.run(visit())


def test_viewers_share_an_encoding(serve, source, connect):
    served, calls = serve(source), []
    rgb = np.zeros((120, 160, 3), np.uint8)

    async def visit():
        async with connect(served) as one, connect(served) as two:
            await eventually(lambda: len(served.server.hub.viewers) == 2)
            source.deliver(1, rgb=lambda: calls.append(1) or rgb)
            for client in (one, two):
                await client.read(lambda client=client: client.frames)
    asyncio.run(visit())
    assert len(calls) == 1


def test_images_are_asked_for_only_while_somebody_looks(serve, source, connect):
    served = serve(source)

    async def visit():
        async with connect(served) as client:
            await eventually(lambda: source.watched[-1:] == [{'camera'}])
            await client.send(type='watch', camera='camera', side=0)    # paused
            await eventually(lambda: source.watched[-1] == set())
            source.deliver(1, [('cup', BOX)])
            await client.read(lambda: client.frames)
            header, jpeg = client.frames[0]
            assert header['tracks'] and not jpeg
            await client.send(type='watch', camera='camera', side=100)
            await eventually(lambda: source.watched[-1] == {'camera'})
        await eventually(lambda: source.watched[-1] == set())
    asyncio.run(visit())


def test_each_viewer_has_its_camera(serve, source, connect):
    source.cameras = [CameraState('front'), CameraState('rear')]
    served = serve(source)

    async def visit():
        async with connect(served, camera='front') as front, connect(served, 'rear') as rear:
            await eventually(lambda: source.watched[-1] == {'front', 'rear'})
            source.deliver(1, camera='front')
            source.deliver(2, camera='rear')
            for client in (front, rear):
                await client.read(lambda client=client: client.frames)
            assert [front.frames[0][0]['stamp'], rear.frames[0][0]['stamp']] == ['1', '2']
    asyncio.run(visit())


def test_an_image_that_cannot_be_read_is_reported_and_the_next_one_shown(serve, source, connect):
    def broken():
        raise ValueError('damaged')

    async def visit():
        async with connect(serve(source)) as client:
            await eventually(lambda: source.watched[-1:] == [{'camera'}])
            source.deliver(1, rgb=broken)
            await client.read(lambda: client.frames)
            assert client.frames[0][0]['problem'] == 'damaged'
            await client.ack()
            source.deliver(2)
            await client.read(lambda: len(client.frames) == 2)
            assert client.frames[1][1]
    asyncio.run(visit())


# ---- requests ----

def test_requests_reach_the_source_and_answers_come_back(serve, source, connect):
    async def visit():
        async with connect(serve(source)) as client:
            await client.socket.send_str(INIT)
            await client.send(type='remove', camera='camera', id='cup')
            assert await client.answer_to('{"type": "call", "service": "enable"}') == \
                'enable answered'
            assert await client.answer_to('{"type": "call", "service": "reset"}') == \
                'reset: reset answered'
    asyncio.run(visit())
    assert source.asked[:4] == [('init', 'camera', 'cup', BOX, 5), ('remove', 'camera', 'cup'),
                                'enable', 'reset']


def test_a_renamed_target_goes_once_its_successor_is_there(serve, source, connect):
    rename = '{"type": "rename", "camera": "camera", "id": "cup", "to": "mug"}'

    async def visit():
        async with connect(serve(source)) as client:
            assert await client.answer_to(rename) == "no target 'cup'"
            source.deliver(7, [('cup', BOX)])
            await client.read(lambda: client.frames)
            await client.ack()
            await client.socket.send_str(rename)
            await eventually(lambda: source.asked == [('init', 'camera', 'mug', BOX, 7)])
            source.deliver(8, [('cup', BOX)])
            await client.read(lambda: len(client.frames) == 2)
            await client.ack()
            assert len(source.asked) == 1
            source.deliver(9, [('cup', BOX), ('mug', BOX)])
            await eventually(lambda: source.asked[1:] == [('remove', 'camera', 'cup')])
            await client.read(lambda: len(client.frames) == 3)
            assert await client.answer_to(rename) == "there is a target 'mug' already"
    asyncio.run(visit())


def test_notices_and_states_reach_all_viewers(serve, source, connect):
    async def visit():
        served = serve(source)
        async with connect(served) as one, connect(served) as two:
            await eventually(lambda: len(served.server.hub.viewers) == 2)
            source.receiver.notice(1, 'lost')
            source.cameras[0].message = 'changed'
            for client in (one, two):
                await client.read(lambda client=client: client.notices() == ['lost'] and any(
                    message['type'] == 'state' and message['cameras'][0]['message'] == 'changed'
                    for message in client.messages))
    asyncio.run(visit())


# ---- attacks ----

@pytest.mark.parametrize('text', [
    'nonsense', '{"type": "init"}', INIT.replace('"camera": "camera"', '"camera": "other"'),
    '{"type": "ack", "sequence": 12345}', '{"type": "call", "service": "rm -rf"}'])
def test_a_bad_message_is_answered_logged_and_nothing_else(serve, source, connect, caplog, text):
    async def visit():
        async with connect(serve(source)) as client:
            answer = await client.answer_to(text)
            assert answer in caplog.text
            await client.socket.send_bytes(b'\0\1')
            await client.read(lambda: client.notices()[-1] == 'message must be a text')
            await client.socket.send_str(INIT)    # the connection is still good
            await eventually(lambda: source.asked)
    asyncio.run(visit())
    assert source.asked[0][0] == 'init'


def test_a_huge_message_ends_only_its_own_connection(serve, source, connect):
    async def visit():
        served = serve(source)
        async with connect(served) as good, connect(served) as bad:
            await bad.socket.send_str('x' * (MAX_MESSAGE + 1))
            with pytest.raises(ConnectionError):
                await bad.read(lambda: False)
            await good.socket.send_str(INIT)
            await eventually(lambda: source.asked)
    asyncio.run(visit())


def test_a_flood_is_cut_and_fills_neither_the_log_nor_the_source(
        serve, source, connect, caplog):
    async def visit():
        served = serve(source)
        async with connect(served) as good, connect(served) as bad:
            with pytest.raises(ConnectionError):
                while True:
                    await bad.socket.send_str(INIT)
            asked = len(source.asked)
            await good.socket.send_str(INIT)
            await eventually(lambda: len(source.asked) > asked)
    with caplog.at_level(logging.WARNING, 're3_web'):
        asyncio.run(visit())
    assert MESSAGE_BURST <= len(source.asked) < MESSAGE_BURST + MAX_REFUSED
    assert len(caplog.records) <= 20


def test_no_more_viewers_than_allowed_and_a_place_becomes_free(serve, source, connect):
    served = serve(source, max_viewers=1)

    async def visit():
        async with connect(served) as first:
            address = f'http://localhost:{served.port}'
            async with ClientSession() as session, session.ws_connect(
                    f'{address}/ws', headers={'Origin': address}) as refused:
                assert (await refused.receive_json())['type'] == 'full'
                await refused.receive()
                assert refused.close_code == 1013
            await first.socket.send_str(INIT)
            await eventually(lambda: source.asked)
        await eventually(lambda: not served.server.hub.viewers)
        async with connect(served):
            pass
    asyncio.run(visit())


def test_a_connection_that_breaks_off_frees_its_place(serve, source):
    served = serve(source)
    key = 'dGhlIHNhbXBsZSBub25jZQ=='
    with sockets.create_connection(('127.0.0.1', served.port)) as connection:
        connection.sendall((f'GET /ws HTTP/1.1\r\nHost: localhost:{served.port}\r\n'
                            f'Origin: http://localhost:{served.port}\r\n'
                            'Connection: Upgrade\r\nUpgrade: websocket\r\n'
                            f'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n'
                            ).encode())
        assert b'101' in connection.recv(100)
        asyncio.run(eventually(lambda: len(served.server.hub.viewers) == 1))
    asyncio.run(eventually(lambda: not served.server.hub.viewers))


def test_the_end_is_clean_while_viewers_are_connected(serve, source, connect):
    async def visit():
        served = serve(source)
        async with connect(served) as client:
            stopped = threading.Thread(target=served.stop)
            stopped.start()
            with pytest.raises(ConnectionError):
                await client.read(lambda: False)
            await eventually(lambda: not stopped.is_alive())
    asyncio.run(visit())
    assert source.asked == ['stop']
