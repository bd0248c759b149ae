# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Declare the parameters of `re3_ros.parameters` on a node, and check changes to them."""

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from re3_ros import parameters


def descriptor_of(parameter):
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


class Parameters:
    """
    The node's parameters, declared and checked.

    Changes are only checked in the node's callback; `take_changes` hands them over when the
    node is between two images.
    """

    def __init__(self, node):
        """Declare all parameters; ValueError lists those whose values are not allowed."""
        self._node = node
        node.declare_parameters('', [
            (parameter.name, parameter.default, descriptor_of(parameter))
            for parameter in parameters.PARAMETERS])
        self.values = {parameter.name: node.get_parameter(parameter.name).value
                       for parameter in parameters.PARAMETERS}
        self.cameras = [name for name in self.values['cameras'] if name] or ['']
        self.values.update(self._declare_deprecated())
        wrong = parameters.problems(self.values) + self._problems_of_cameras()
        if wrong:
            raise ValueError('; '.join(wrong))
        self._per_camera = {name: self._declare_for_camera(name) for name in self.cameras}
        self._changed = {}
        node.add_on_set_parameters_callback(self._check)

    def _declare_deprecated(self):
        """Declare the old names; return {present name: value} of those that are set."""
        given = {}
        for old, name in parameters.DEPRECATED.items():
            value = self._node.declare_parameter(old, None, ParameterDescriptor(
                description=f'Deprecated: use {name}.', dynamic_typing=True)).value
            if value is not None:
                given[name] = self._present_value(old, value)
        return given

    def _present_value(self, old, value):
        """Log that `old` is deprecated; return its value in the type of the present name."""
        name = parameters.DEPRECATED[old]
        self._node.get_logger().warning(
            f'parameter {old} is deprecated and will be removed, use {name}')
        kind = type(parameters.find(name).default)
        allowed = (int, float) if kind is float else (kind,)
        if isinstance(value, bool) or not isinstance(value, allowed):
            raise ValueError(f'{old} must be of type {kind.__name__}, got {value!r}')
        return kind(value)

    def _problems_of_cameras(self):
        names = self.cameras
        wrong = [f'cameras must be names of letters, digits and _, got {name!r}'
                 for name in names if name and not name.isidentifier()]
        if len(set(names)) < len(names):
            wrong.append(f'cameras must differ, got {names}')
        return wrong

    def _declare_for_camera(self, camera):
        """Return a camera's own values; they default to those of the whole node."""
        if not camera:
            return {}
        own = {}
        for name in parameters.PER_CAMERA:
            parameter = parameters.find(name)
            own[name] = self._node.declare_parameter(
                f'{camera}.{name}', self.values[name], descriptor_of(parameter)).value
            wrong = parameters.problem_with(parameter, own[name])
            if wrong:
                raise ValueError(f'{camera}.{wrong}')
        return own

    def __getitem__(self, name):
        return self.values[name]

    def of_camera(self, camera, name):
        """Return a parameter as it is for one camera."""
        return self._per_camera[camera].get(name, self.values[name])

    def _check(self, changes):
        """Tell whether changes are allowed; called by rclpy before it makes them."""
        new = {change.name: change.value for change in changes if change.name in self.values}
        try:
            new.update({parameters.DEPRECATED[change.name]: self._present_value(
                change.name, change.value) for change in changes
                if change.name in parameters.DEPRECATED and change.value is not None})
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        wrong = parameters.problems({**self.values, **self._changed, **new})
        if wrong:
            return SetParametersResult(successful=False, reason='; '.join(wrong))
        self._changed.update(new)
        return SetParametersResult(successful=True)

    def take_changes(self):
        """Return {name: value} of what changed since the last call, and make it current."""
        changed, self._changed = self._changed, {}
        self.values.update(changed)
        return changed
