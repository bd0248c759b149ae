# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Which quality of service an image subscription asks for, following its publishers."""

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from re3_ros.parameters import RELIABILITIES

# In order not to lose images of a recording while one is tracked.
QUEUE_OF_EVERY_FRAME = 100


def reliability_to_ask(wanted, offered):
    """
    Return 'reliable' or 'best_effort'.

    :param wanted: one of `re3_ros.parameters.RELIABILITIES`.
    :param offered: list of what each publisher offers; without any, best effort fits all.

    >>> reliability_to_ask('auto', ['reliable', 'best_effort'])
    'best_effort'
    """
    if wanted != 'auto':
        return wanted
    reliable = offered and all(offer == 'reliable' for offer in offered)
    return 'reliable' if reliable else 'best_effort'


def image_profile(reliability, depth):
    """Return the QoSProfile for an image subscription that keeps the `depth` newest images."""
    policy = (ReliabilityPolicy.RELIABLE if reliability == 'reliable'
              else ReliabilityPolicy.BEST_EFFORT)
    return QoSProfile(depth=depth, reliability=policy)


def latched_profile():
    """Return the QoSProfile of a topic whose last message also reaches those who come later."""
    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def reliability_name(info):
    """Return what a publisher (rclpy's TopicEndpointInfo) offers, as a word."""
    reliable = info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    return 'reliable' if reliable else 'best_effort'


def declare_image_overrides(node, topic, reliability, depth):
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
