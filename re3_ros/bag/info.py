# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The contents of a bag: topics, times, images, and missing parts."""

from datetime import datetime, timezone
from typing import Any

from re3_ros.bag.message_types import COMPRESSED_IMAGE
from re3_ros.bag.outputs import folder_size
from re3_ros.bag.reader import Bag, Topic
from re3_ros.bag.track import image_rate
from re3_ros.messages import compressed_size, image_size


def describe(bag: Bag) -> dict[str, Any]:
    """Return a bag's properties as JSON has them; times in seconds."""
    topics = [_topic(bag, bag.topics[name]) for name in sorted(bag.topics)]
    return {
        'path': str(bag.path),
        'storage': bag.storage,
        'compression': bag.compression,
        'ros_distro': str(bag.metadata.get('ros_distro') or ''),
        'files': [path.name for path in bag.files],
        'bytes': sum(folder_size(path) for path in bag.files),
        'start': bag.start / 1e9,
        'end': bag.end / 1e9,
        'duration': (bag.end - bag.start) / 1e9,
        'messages': sum(topic['messages'] for topic in topics),
        'topics': topics,
        'problems': bag.problems,
    }


def _topic(bag: Bag, topic: Topic) -> dict[str, Any]:
    properties: dict[str, Any] = {'name': topic.name, 'type': topic.type, 'messages': topic.count}
    if topic in bag.image_topics() and topic.count:
        properties |= _image(bag, topic)
    return properties


def _image(bag: Bag, topic: Topic) -> dict[str, Any]:
    """Return size, encoding and rate of the images of a topic, by the first ones."""
    try:
        image = bag.deserialize(next(bag.messages({topic.name})))
        compressed = topic.type == COMPRESSED_IMAGE
        encoding = image.format if compressed else image.encoding
        height, width = (compressed_size if compressed else image_size)(image)
    except (ValueError, StopIteration) as error:
        return {'unusable': str(error) or 'no message can be read'}
    return {'encoding': encoding, 'width': width, 'height': height,
            'rate': round(image_rate(bag, topic), 2)}


def as_text(info: dict[str, Any]) -> str:
    """Return the properties of `describe` for people."""
    start = datetime.fromtimestamp(info['start'], timezone.utc)
    compression = f', compressed by {info["compression"]}' if info['compression'] else ''
    lines = [
        f'bag       {info["path"]}',
        f'storage   {info["storage"]}{compression}, {len(info["files"])} '
        f'{"file" if len(info["files"]) == 1 else "files"}, {info["bytes"] / 1e6:.1f} MB',
        f'recorded  {start:%Y-%m-%d %H:%M:%S} UTC, {info["duration"]:.3f} s'
        + (f', {info["ros_distro"]}' if info['ros_distro'] else ''),
        f'messages  {info["messages"]}',
        'topics']
    width = max((len(topic['name']) for topic in info['topics']), default=0)
    lines += [f'  {topic["name"]:{width}}  {topic["messages"]:6}  {topic["type"]}'
              f'{_image_text(topic)}' for topic in info['topics']]
    return '\n'.join(lines)


def _image_text(topic: dict[str, Any]) -> str:
    if 'unusable' in topic:
        return f'  unusable: {topic["unusable"]}'
    if 'encoding' not in topic:
        return ''
    return (f'  {topic["width"]} x {topic["height"]} {topic["encoding"]}, '
            f'{topic["rate"]:g} images/s')


