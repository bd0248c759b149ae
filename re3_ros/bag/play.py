# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Publish the messages of bags with `/clock`, for machines without rosbag2."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
import heapq
import importlib
import logging
import time
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from re3_ros.bag import BagError
from re3_ros.bag.reader import Bag
from re3_ros.bag.storage import Message, Topic
from rosgraph_msgs.msg import Clock

# Messages that a slow subscriber may lag behind.
DEPTH = 100
# Seconds to wait for slow subscribers at the end.
FLUSH_TIMEOUT = 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlayOptions:
    """
    How to play.

    :param rate: how many times as fast as recorded.
    :param loop: start again at the end.
    :param start, end: seconds from the first message; `end` None is the end of the bag.
    :param clock_rate: messages on `/clock` per second; 0 for none.
    :param wait_for_subscribers: subscriptions of the images to wait for before the start.
    :param best_effort: offer best effort instead of reliable.
    """

    rate: float = 1.
    loop: bool = False
    start: float = 0.
    end: float | None = None
    clock_rate: float = 100.
    wait_for_subscribers: int = 0
    best_effort: bool = False


def message_class(name: str) -> type:
    """Return the Python class of a type such as `sensor_msgs/msg/Image`; BagError if none."""
    package, _, kind = name.partition('/msg/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), kind)
    except (ImportError, AttributeError):
        raise BagError(f'the message type {name} is not installed') from None


def choose_topics(bags: list[Bag], names: list[str]) -> list[Topic]:
    """
    Return the topics to publish.

    :param names: of topics; empty: all images, and all others whose type is installed.
    :raises BagError: a name is in no bag, a type is not installed, or there are no images.
    """
    topics = {name: topic for bag in bags for name, topic in bag.topics.items()
              if topic.count and name != '/clock'}
    if not names:
        bags[0].image_topic(next((topic.name for topic in bags[0].image_topics()
                                  if topic.count), None))
        return [topic for topic in topics.values() if _installed(topic)]
    for name in names:
        if name not in topics:
            raise BagError(f'there is no topic {name} with messages; topics: '
                           f'{", ".join(sorted(topics)) or "none"}')
        message_class(topics[name].type)
    return [topics[name] for name in names]


def _installed(topic: Topic) -> bool:
    try:
        message_class(topic.type)
    except BagError as error:
        _log.warning('%s is not played: %s', topic.name, error)
        return False
    return True


class Player(Node):
    """
    Publishes serialized messages as they were recorded, at their times.

    The header stamps stay as recorded; `/clock` gives the time of the recording.
    """

    def __init__(self, bags: list[Bag], topics: list[Topic], options: PlayOptions,
                 **kwargs: Any) -> None:
        """Create the publishers."""
        super().__init__('bag_player', **kwargs)
        self._bags, self._options = bags, options
        images = {topic.name for bag in bags for topic in bag.image_topics()}
        self._publishers_by_topic = {
            topic.name: self.create_publisher(
                message_class(topic.type), topic.name, self._profile(topic))
            for topic in topics}
        self._image_publishers = [publisher for name, publisher in
                                  self._publishers_by_topic.items() if name in images]
        self._clock_publisher = self.create_publisher(Clock, '/clock', QoSProfile(
            depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)) if options.clock_rate else None
        self._begin = min(bag.start for bag in bags if bag.topics)
        self.published = 0

    def _profile(self, topic: Topic) -> QoSProfile:
        """Return the offered quality of service; latched topics stay latched."""
        best_effort = self._options.best_effort and not topic.latched
        return QoSProfile(
            depth=1 if topic.latched else DEPTH,
            reliability=(ReliabilityPolicy.BEST_EFFORT if best_effort
                         else ReliabilityPolicy.RELIABLE),
            durability=(DurabilityPolicy.TRANSIENT_LOCAL if topic.latched
                        else DurabilityPolicy.VOLATILE))

    def play(self) -> None:
        """Publish until the end of the bags, or for ever with `loop`."""
        self._wait_for_subscribers()
        while self.context.ok():
            before = self.published
            self._play_once()
            if not self._options.loop or self.published == before:
                break
        if self.published == 0:
            raise BagError('there are no messages in the chosen part of the bag')
        for publisher in self._image_publishers:
            if self.context.ok():
                publisher.wait_for_all_acked(Duration(seconds=FLUSH_TIMEOUT))

    def _wait_for_subscribers(self) -> None:
        def listening() -> int:
            return sum(publisher.get_subscription_count() for publisher in self._image_publishers)
        while listening() < self._options.wait_for_subscribers and self.context.ok():
            time.sleep(.02)

    def _messages(self) -> Iterator[Message]:
        options = self._options
        start = self._begin + round(options.start * 1e9)
        stop = None if options.end is None else self._begin + round(options.end * 1e9)
        names = set(self._publishers_by_topic)
        return heapq.merge(*(bag.messages(names, start, stop) for bag in self._bags),
                           key=lambda message: message.received)

    def _play_once(self) -> None:
        first: int | None = None
        began = time.monotonic()
        for message in self._messages():
            first = message.received if first is None else first
            if not self._sleep_until(began, first, message.received):
                return
            self._publishers_by_topic[message.topic].publish(bytes(message.data))
            self.published += 1

    def _sleep_until(self, began: float, first: int, received: int) -> bool:
        """Wait for a message's turn, publishing `/clock`; return whether to go on."""
        rate, step = self._options.rate, 1 / (self._options.clock_rate or 10.)
        due = began + (received - first) / 1e9 / rate
        while self.context.ok():
            left = due - time.monotonic()
            if left <= 0:
                self._publish_clock(received)
                return True
            self._publish_clock(received - round(left * rate * 1e9))
            time.sleep(min(left, step))
        return False

    def _publish_clock(self, nanoseconds: int) -> None:
        if self._clock_publisher is not None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(max(0, nanoseconds), 1_000_000_000)
            self._clock_publisher.publish(message)


def play(bags: list[Bag], names: list[str], options: PlayOptions,
         ros_arguments: list[str]) -> int:
    """
    Play bags until their end or an interrupt; return the number of messages published.

    :param names: topics, see `choose_topics`.
    :param ros_arguments: `--ros-args ...`, such as remappings.
    """
    topics = choose_topics(bags, names)
    rclpy.init(args=ros_arguments)
    player = Player(bags, topics, options)
    try:
        with suppress(KeyboardInterrupt, ExternalShutdownException):
            player.play()
        return player.published
    except Exception:
        if rclpy.ok():
            raise
        return player.published     # overtaken by a shutdown
    finally:
        player.destroy_node()
        rclpy.try_shutdown()
