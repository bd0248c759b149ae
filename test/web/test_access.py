# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Who is served: Host, Origin and token."""

import pytest
from re3_web.access import Access, AccessError, is_loopback, page_address


@pytest.mark.parametrize(('host', 'local'), [
    ('127.0.0.1', True), ('::1', True), ('localhost', True), ('127.1.2.3', True),
    ('0.0.0.0', False), ('::', False), ('192.168.1.2', False), ('robot', False)])
def test_loopback(host, local):
    assert is_loopback(host) == local


@pytest.mark.parametrize('header', [
    'localhost:8088', '127.0.0.1', '[::1]:8088', 'LOCALHOST:9000'])
def test_a_local_server_serves_its_own_names(header):
    Access('127.0.0.1').check_host(header)


@pytest.mark.parametrize('header', [
    '', 'evil.example', 'localhost.evil.example:8088', '192.168.1.2:8088', '[::1', 'a@b:c',
    'evil.example:8088@localhost/'])
def test_a_local_server_refuses_foreign_names(header):
    with pytest.raises(AccessError, match='is not served'):
        Access('127.0.0.1').check_host(header)


def test_a_public_server_serves_addresses_but_no_foreign_names():
    access = Access('0.0.0.0', ['Robot.example'])
    for header in ('192.168.1.2:8088', '[fd00::1]:8088', 'robot.example', 'localhost:8088'):
        access.check_host(header)
    with pytest.raises(AccessError):
        access.check_host('evil.example:8088')


@pytest.mark.parametrize('origin', [
    '', 'null', 'http://evil.example', 'http://localhost:9999', 'http://localhost',
    'file://localhost:8088', 'http://localhost:8088.evil.example', 'http://[::1'])
def test_foreign_origins_are_refused(origin):
    with pytest.raises(AccessError, match='is not this page'):
        Access('127.0.0.1').check_origin(origin, 'localhost:8088')


def test_own_origins_are_served_also_behind_a_proxy():
    access = Access('127.0.0.1', ['robot.example'])
    access.check_origin('http://localhost:8088', 'localhost:8088')
    access.check_origin('https://robot.example', 'localhost:8088')


def test_a_token_is_required_wherever_others_can_connect():
    assert Access('127.0.0.1').token == ''
    assert len(Access('0.0.0.0').token) >= 20
    assert Access('0.0.0.0').token != Access('0.0.0.0').token
    assert Access('127.0.0.1', ['robot.example']).token
    assert Access('127.0.0.1', token='chosenchosen').token == 'chosenchosen'


@pytest.mark.parametrize('token', ['', 'x', 'chosenchose', 'chosenchosenn', '\ud800', 'ä' * 12])
def test_wrong_tokens_are_refused(token):
    access = Access('0.0.0.0', token='chosenchosen')
    assert not access.accepts(token)
    assert access.accepts('chosenchosen')


def test_address():
    assert page_address('127.0.0.1', 8088, '') == 'http://localhost:8088/'
    assert page_address('192.168.1.2', 80, 'abc') == 'http://192.168.1.2:80/?token=abc'
    assert page_address('fd00::1', 80, '') == 'http://[fd00::1]:80/'
    assert '0.0.0.0' not in page_address('0.0.0.0', 80, '')
