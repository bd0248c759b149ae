# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Messages of viewers: what is understood, and what is refused."""

import json

import pytest
from re3_web.messages import Ack, Call, Init, MessageError, parse, Remove, Rename, Watch

BOX = {'type': 'init', 'camera': '', 'id': 'cup', 'box': [1, 2, 3.5, 4], 'stamp': '17'}


@pytest.mark.parametrize(('data', 'message'), [
    ({'type': 'watch', 'camera': 'front', 'side': 800}, Watch('front', 800)),
    ({'type': 'ack', 'sequence': 3}, Ack(3)),
    (BOX, Init('', 'cup', (1., 2., 3.5, 4.), 17)),
    ({**BOX, 'id': ''}, Init('', '', (1., 2., 3.5, 4.), 17)),
    ({'type': 'remove', 'camera': '', 'id': 'cup'}, Remove('', 'cup')),
    ({'type': 'rename', 'camera': '', 'id': 'cup', 'to': 'mug'}, Rename('', 'cup', 'mug')),
    ({'type': 'call', 'service': 'reset'}, Call('reset')),
])
def test_known_messages(data, message):
    assert parse(json.dumps(data)) == message


@pytest.mark.parametrize(('text', 'reason'), [
    ('', 'not JSON'), ('{', 'not JSON'), ('[' * 2000, 'not JSON'), ('[]', 'object'),
    ('17', 'object'), ('{}', 'type must be'), ('{"type": ["init"]}', 'type must be'),
    ('{"type": "shutdown"}', 'type must be'), ('{"type": "call"}', 'service must be'),
    ('{"type": "call", "service": "shutdown"}', 'service must be'),
    ('{"type": "ack", "sequence": true}', 'sequence must be'),
    ('{"type": "ack", "sequence": 1.0}', 'sequence must be'),
    ('{"type": "ack", "sequence": -1}', 'sequence must be'),
    ('{"type": "watch", "camera": 3, "side": 3}', 'camera must be'),
    ('{"type": "watch", "camera": "", "side": 1000000}', 'side must be'),
    ('{"type": "remove", "camera": "", "id": ""}', 'id must be')])
def test_broken_messages_are_refused(text, reason):
    with pytest.raises(MessageError, match=reason):
        parse(text)


@pytest.mark.parametrize(('field', 'value'), [
    ('box', [1, 2, 3]), ('box', [3, 2, 1, 4]), ('box', [1, 2, 1, 4]), ('box', '1234'),
    ('box', [1, 2, True, 4]), ('box', [1, 2, float('nan'), 4]),
    ('box', [1, 2, float('inf'), 4]), ('box', [1, 2, 1e7, 4]), ('box', [1, 2, 10 ** 400, 4]),
    ('box', None), ('stamp', 17), ('stamp', '-1'), ('stamp', '1e9'), ('stamp', '9' * 20),
    ('stamp', '٣'), ('id', 'x' * 65), ('id', 'a\nb'), ('id', '\ud800'), ('id', 'a\u202eb'),
    ('id', None), ('camera', 'a\x00')])
def test_bad_fields_are_refused_by_name(field, value):
    with pytest.raises(MessageError, match=f'{field} must be'):
        parse(json.dumps({**BOX, field: value}))


def test_what_was_sent_is_quoted_in_short_and_without_control_characters():
    with pytest.raises(MessageError) as refused:
        parse(json.dumps({**BOX, 'id': '\x1b[31m\n' * 1000}))
    assert len(str(refused.value)) < 200
    assert str(refused.value).isprintable()
