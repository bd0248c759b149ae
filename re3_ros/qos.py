# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Which quality of service an image subscription asks for, following its publishers."""

from collections.abc import Sequence

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo
from re3_ros.parameters import RELIABILITIES

# Enough not to lose images of a bag while one is tracked.
QUEUE_OF_EVERY_FRAME = 100


def select_reliability(wanted: str, offered: Sequence[str]) -> str:
    """
    Return 'reliable' or 'best_effort' for a subscription.

    :param wanted: one of `re3_ros.parameters.RELIABILITIES`.
    :param offered: what each publisher offers; without any, best effort fits all.

    >>> select_reliability('auto', ['reliable', 'best_effort'])
    'best_effort'
    """
    if wanted != 'auto':
        return wanted
    reliable = offered and all(offer == 'reliable' for offer in offered)
    return 'reliable' if reliable else 'best_effort'


def image_profile(reliability: str, depth: int) -> QoSProfile:
    """Return the QoSProfile for an image subscription that keeps the `depth` newest images."""
    policy = (ReliabilityPolicy.RELIABLE if reliability == 'reliable'
              else ReliabilityPolicy.BEST_EFFORT)
    return QoSProfile(depth=depth, reliability=policy)


def latched_profile() -> QoSProfile:
    """Return the QoSProfile of a topic whose last message late subscribers receive."""
    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def publisher_reliability(info: TopicEndpointInfo) -> str:
    """Return 'reliable' or 'best_effort', as a publisher offers."""
    reliable = info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    return 'reliable' if reliable else 'best_effort'


def declare_image_overrides(node: Node, topic: str, reliability: str,
                            depth: int) -> tuple[str, int]:
    """
    Declare the `qos_overrides` parameters of an image topic; return (reliability, depth).

    rclpy's own declaration takes the first subscription's values as defaults for all later
    ones, so it cannot serve a subscription that follows its publishers.
    """
    prefix = f'qos_overrides.{topic}.subscription'
    if not node.has_parameter(f'{prefix}.reliability'):
        node.declare_parameter(f'{prefix}.reliability', reliability, ParameterDescriptor(
            description=f'Reliability of the subscription of {topic}.', read_only=True,
            additional_constraints=f'Must be one of: {", ".join(RELIABILITIES)}.'))
        node.declare_parameter(f'{prefix}.depth', depth, ParameterDescriptor(
            description=f'Depth of the subscription of {topic}.', read_only=True))
    chosen = node.get_parameter(f'{prefix}.reliability').value
    depth = node.get_parameter(f'{prefix}.depth').value
    if chosen not in RELIABILITIES or depth < 1:
        raise ValueError(f'{prefix}: reliability must be one of {", ".join(RELIABILITIES)} and '
                         f'depth at least 1, got {chosen!r} and {depth}')
    return chosen, depth
