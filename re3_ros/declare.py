# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Declare the parameters of `re3_ros.parameters` on a node, and check changes to them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
import itertools
import os
import re
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from re3_ros import parameters
import yaml


def descriptor_of(parameter: parameters.Parameter) -> ParameterDescriptor:
    """Return the ParameterDescriptor of a `re3_ros.parameters.Parameter`."""
    descriptor = ParameterDescriptor(
        description=parameter.description, read_only=not parameter.live)
    if parameter.allowed:
        descriptor.additional_constraints = f'Must be {parameters.constraint(parameter)}.'
    if parameter.minimum is not None:
        limits = {'from_value': parameter.minimum, 'to_value': parameter.maximum}
        if isinstance(parameter.default, float):
            descriptor.floating_point_range = [FloatingPointRange(**limits)]
        else:
            descriptor.integer_range = [IntegerRange(**limits)]
    return descriptor


def warn_of_unknown_parameters(node: Node) -> None:
    """Log the given parameters that the node has not declared, with the nearest name."""
    given: Mapping[str, Any] = getattr(node, '_parameter_overrides', {})
    declared = node.list_parameters([], 0).names
    unknown = [name for name in given if not node.has_parameter(name)
               and not name.startswith('qos_overrides.')]
    for name in unknown:
        node.get_logger().warning(
            f'unknown parameter {name} is ignored{parameters.nearest(name, declared)}')


def _sections(tree: Any, prefix: str = '') -> Iterator[str]:
    """Yield the node names in a parameters file's content, as `/namespace/name`."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if key == 'ros__parameters':
            yield prefix
        else:
            yield from _sections(value, f'{prefix}/{str(key).strip("/")}')


def warn_of_unused_sections(node: Node, args: Sequence[str]) -> None:
    """
    Log which parameters files among the command line's arguments name other nodes only.

    Wildcards are those of ROS: `*` is one part of a name, `**` any number of them.
    """
    own = node.get_fully_qualified_name()
    files = [path for option, path in itertools.pairwise(args) if option == '--params-file']
    for path in files:
        try:
            # launch_ros writes tags that the safe loader refuses; this one ignores tags.
            with open(path, encoding='utf-8') as file:
                names = sorted(set(_sections(yaml.load(file, Loader=yaml.BaseLoader))))
        except (OSError, ValueError, yaml.YAMLError):
            continue    # rcl has read it, and nothing but a warning depends on it
        # A name without a slash is that of a node in any namespace.
        patterns = [name if name.count('/') > 1 or name == own else f'/**{name}'
                    for name in names]
        if names and not any(_matches(pattern, own) for pattern in patterns):
            node.get_logger().warning(
                f'{path} has parameters for {", ".join(names)}, none of them for {own}'
                f'{parameters.nearest(own, names)}')


def _matches(pattern: str, name: str) -> bool:
    expression = re.escape(pattern).replace(r'/\*\*', '(/[^/]+)*').replace(r'\*', '[^/]+')
    return re.fullmatch(expression, name) is not None


def _as_present_type(old: str, value: Any) -> Any:
    """Return the value of a deprecated name in the type of the present one, or ValueError."""
    kind = type(parameters.find(parameters.DEPRECATED[old]).default)
    allowed = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise ValueError(f'{old} must be of type {kind.__name__}, got {value!r}')
    return kind(value)


def _add_present_names(changes: list[RosParameter]) -> list[RosParameter]:
    """Return the changes, and those of the present names for deprecated ones."""
    added = []
    for change in changes:
        if change.name in parameters.DEPRECATED and change.value is not None:
            with suppress(ValueError):    # reported when the change is checked
                added.append(RosParameter(parameters.DEPRECATED[change.name],
                                          value=_as_present_type(change.name, change.value)))
    return [*changes, *added]


class Parameters:
    """
    The node's parameters, declared and checked.

    Changes are only checked in the node's callback; `take_changes` applies them when the node is
    between two images.
    """

    def __init__(self, node: Node) -> None:
        """Declare all parameters; ValueError lists those whose values are not allowed."""
        self._node = node
        node.declare_parameters('', [
            (parameter.name, parameter.default, descriptor_of(parameter))
            for parameter in parameters.PARAMETERS])
        self.values: dict[str, Any] = {
            parameter.name: node.get_parameter(parameter.name).value
            for parameter in parameters.PARAMETERS}
        deprecated = self._declare_deprecated()
        node.set_parameters([RosParameter(name, value=value)
                             for name, value in deprecated.items()])
        self.values.update(deprecated)
        self.values['weights'] = os.path.expanduser(self.values['weights'])
        wrong = parameters.validate(self.values)
        if wrong:
            raise ValueError('; '.join(wrong))
        self.cameras = parameters.camera_names(self.values['cameras'])
        self._per_camera = {name: self._declare_for_camera(name) for name in self.cameras}
        self._changed: dict[str, Any] = {}
        # Humble has no such callback: there an old name leaves the parameter of the new one as
        # it was, though its value is used.
        if hasattr(node, 'add_pre_set_parameters_callback'):
            node.add_pre_set_parameters_callback(_add_present_names)
        node.add_on_set_parameters_callback(self._check)

    def _declare_deprecated(self) -> dict[str, Any]:
        """Declare the old names; return {present name: value} of those that are set."""
        given = {}
        for old, name in parameters.DEPRECATED.items():
            value = self._node.declare_parameter(old, None, ParameterDescriptor(
                description=f'Deprecated: use {name}.', dynamic_typing=True)).value
            if value is not None:
                given[name] = self._present_value(old, value)
        return given

    def _present_value(self, old: str, value: Any) -> Any:
        """Log that `old` is deprecated; return its value in the type of the present name."""
        name = parameters.DEPRECATED[old]
        self._node.get_logger().warning(
            f'parameter {old} is deprecated and will be removed, use {name}')
        return _as_present_type(old, value)

    def _declare_for_camera(self, camera: str) -> dict[str, Any]:
        """Return a camera's own values; they default to those of the whole node."""
        if not camera:
            return {}
        own = {}
        for name in parameters.PER_CAMERA:
            parameter = parameters.find(name)
            own[name] = self._node.declare_parameter(
                f'{camera}.{name}', self.values[name], descriptor_of(parameter)).value
            wrong = parameters.validate_one(parameter, own[name])
            if wrong:
                raise ValueError(f'{camera}.{wrong}')
        return own

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def of_camera(self, camera: str, name: str) -> Any:
        """Return a parameter as it is for one camera."""
        return self._per_camera[camera].get(name, self.values[name])

    def _check(self, changes: Sequence[RosParameter]) -> SetParametersResult:
        """Return whether changes are allowed; called by rclpy before it makes them."""
        new = {change.name: change.value for change in changes if change.name in self.values}
        try:
            new.update({parameters.DEPRECATED[change.name]: self._present_value(
                change.name, change.value) for change in changes
                if change.name in parameters.DEPRECATED and change.value is not None})
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        wrong = parameters.validate({**self.values, **self._changed, **new})
        if wrong:
            return SetParametersResult(successful=False, reason='; '.join(wrong))
        self._changed.update(new)
        return SetParametersResult(successful=True)

    def take_changes(self) -> dict[str, Any]:
        """Return {name: value} of what changed since the last call, and make it current."""
        changed, self._changed = self._changed, {}
        self.values.update(changed)
        return changed
