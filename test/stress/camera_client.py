# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""A client of the tests that is the camera, too: it sends single images on demand."""

import time

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from re3_ros.messages import fill_compressed, fill_image, stamp_of
from sensor_msgs.msg import CompressedImage, Image
from stress.client import Client, detection, header_of, PATIENCE, RESEND_AFTER
from vision_msgs.msg import Detection2DArray

SIZE = (120, 160)
PERIOD = 33_333_333


class CameraClient(Client):
    """
    A camera, a detector and a controller in one.

    `tracks` are the Detection2DArrays by their image's stamp, `statuses` and `diagnostics` all
    messages received.
    """

    newest = 0      # stamp of the last image of any client

    def __init__(self, image='image', reliable=True, transport='raw', depth=5, **kwargs):
        """
        Create the topics.

        :param image: topic of the images.
        :param transport: raw or compressed.
        :param depth: QoS depth of the images.
        :param kwargs: see `Client`.
        """
        self.tracks, self.statuses, self.diagnostics = {}, [], []
        super().__init__(**kwargs)
        self.image_kind = Image if transport == 'raw' else CompressedImage
        self.images = self.publisher(
            self.image_kind,
            f'{self.prefix}{image}' + '/compressed' * (transport == 'compressed'), depth,
            ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT)
        self.frame_id = f'{self.prefix}optical_frame'
        # Later than the stamps of the clients before, but not by more than the time that passed:
        # that would be an outlier.
        self.stamp = max(time.monotonic_ns(), CameraClient.newest + 100_000_000)

    def on_tracks(self, message):
        """Record tracks."""
        self.tracks[stamp_of(message.header)] = message

    def on_status(self, message):
        """Record the status table."""
        self.statuses.append(message)

    def on_diagnostics(self, message):
        """Record diagnostics."""
        self.diagnostics.append(message)

    def connect(self, *publishers):
        """
        Wait until the node subscribes to everything, and is connected to this client, too.

        Endpoints are announced in the order in which they were made, so a node that answers a
        service client just made is connected to all those before.
        """
        super().connect(self.images, *publishers)
        self.state()
        return self

    # ---- images ----

    def header(self, stamp):
        """Return a header with a stamp in nanoseconds."""
        return header_of(stamp, self.frame_id)

    def image(self, rgb=None, encoding='rgb8', stamp=None):
        """Return the next image message, 33 ms after the last one; gray noise without `rgb`."""
        if stamp is None:
            self.stamp += PERIOD
            stamp = CameraClient.newest = self.stamp
        if rgb is None:
            rgb = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
        message = self.image_kind(header=self.header(stamp))
        return (fill_image(message, rgb, encoding) if self.image_kind is Image
                else fill_compressed(message, rgb))

    def send(self, rgb=None, **kwargs):
        """Publish an image; return its stamp."""
        message = self.image(rgb, **kwargs)
        self.images.publish(message)
        return stamp_of(message.header)

    def send_and_arrive(self, rgb=None, **kwargs):
        """Publish an image; return its stamp once it has reached the node, reliably."""
        stamp = self.send(rgb, **kwargs)
        assert self.images.wait_for_all_acked(Duration(seconds=PATIENCE))
        return stamp

    # ---- tracks ----

    def tracks_of(self, stamp):
        """Wait for the tracks of the image with this stamp."""
        return self.wait_until(lambda: self.tracks.get(stamp), f'tracks of {stamp}')

    def track(self, rgb=None, **kwargs):
        """
        Publish an image and return its tracks as {id: Detection2D}.

        Another is published if there is no answer: best effort may lose one.
        """
        sent = []

        def answered():
            if not sent or time.monotonic() - sent[-1][1] > RESEND_AFTER:
                sent.append((self.send(rgb, **kwargs), time.monotonic()))
            return next((self.tracks[stamp] for stamp, _ in sent if stamp in self.tracks), None)
        return by_id(self.wait_until(answered, 'tracks'))

    def track_until(self, condition, what):
        """Publish images until their tracks {id: Detection2D} satisfy `condition`."""
        end = time.monotonic() + PATIENCE
        while not condition(tracks := self.track()):
            assert time.monotonic() < end, f'waited for {what}; tracks: {set(tracks)}'
        return tracks

    # ---- requests ----

    def detection(self, identity, box, **kwargs):
        """Return a Detection2D of an `xyxy` box; None removes."""
        return detection(identity, box, frame_id=self.frame_id, **kwargs)

    def init(self, identity, box, **kwargs):
        """Publish a box on `init`."""
        self.inits.publish(self.detection(identity, box, **kwargs))

    def detect(self, *detections, stamp=0):
        """Publish (id, box) pairs or messages on `detections`."""
        self.detections.publish(Detection2DArray(header=self.header(stamp), detections=[
            item if hasattr(item, 'bbox') else self.detection(*item) for item in detections]))

    def start_target(self, identity, box, **kwargs):
        """Start a target and wait until it is tracked; return its first track."""
        self.init(identity, box, **kwargs)
        return self.track_until(lambda tracks: identity in tracks, f'target {identity}')[identity]

    def set_parameters(self, **values):
        """Set parameters of the tracker; return the list of results."""
        return self.call(SetParametersAtomically, 'tracker/set_parameters_atomically', parameters=[
            Parameter(name, value=value).to_parameter_msg()
            for name, value in values.items()]).result

    def state(self):
        """Return the label of the node's lifecycle state."""
        return self.call(GetState, 'tracker/get_state').current_state.label

    def transition(self, name, goal):
        """Ask for a lifecycle transition; return whether the node is in the state `goal` now."""
        number = getattr(Transition, f'TRANSITION_{name.upper()}')
        success = self.call(ChangeState, 'tracker/change_state',
                            transition=Transition(id=number)).success
        repeated = self.repeated
        # Requested twice, the second time fails because the first has succeeded.
        reached = self.state() == goal
        assert success == reached or repeated, (name, success, reached)
        return reached


def by_id(message):
    """Return a Detection2DArray as {id: Detection2D}."""
    return {detection.id: detection for detection in message.detections}
