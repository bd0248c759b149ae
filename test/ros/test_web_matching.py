# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Images and tracks are matched by stamp for the web page."""

from re3_ros.web.matching import MAX_IMAGES, PATIENCE, TrackMatcher, TRACKS_VALID

CUP = ('cup',)      # stands for a tuple of tracks


def paired():
    """Return a TrackMatcher that had a pair at time 0."""
    matcher = TrackMatcher()
    matcher.add_image(1, 'image 1', 0.)
    matcher.add_tracks(1, CUP, 0.)
    return matcher


def test_an_image_waits_for_its_tracks():
    matcher = paired()
    assert matcher.add_image(2, 'image 2', .1) is None
    assert matcher.add_tracks(2, CUP, .2) == 'image 2'
    assert matcher.add_tracks(2, CUP, .2) is None


def test_tracks_may_come_before_their_image():
    matcher = paired()
    assert matcher.add_tracks(2, CUP, .1) is None
    assert matcher.add_image(2, 'image 2', .2) == ('image 2', CUP)


def test_without_tracks_images_are_shown_as_they_come():
    matcher = TrackMatcher()
    assert matcher.add_image(1, 'image 1', 0.) == ('image 1', ())
    matcher = paired()
    assert matcher.add_image(2, 'image 2', PATIENCE + .01) == ('image 2', CUP)
    late = max(PATIENCE, TRACKS_VALID) + .01
    assert matcher.add_image(3, 'image 3', late) == ('image 3', ())


def test_tracks_that_come_again_are_matched_again():
    matcher = paired()
    matcher.add_image(2, 'image 2', 10.)
    assert matcher.add_tracks(2, CUP, 10.1) == 'image 2'
    assert matcher.add_image(3, 'image 3', 10.2) is None


def test_images_without_tracks_do_not_pile_up():
    matcher = paired()
    for stamp in range(2, 100):
        matcher.add_image(stamp, f'image {stamp}', .1)
    assert matcher.add_tracks(99 - MAX_IMAGES, CUP, .1) is None
    assert matcher.add_tracks(50 + MAX_IMAGES + 30, CUP, .1) == f'image {80 + MAX_IMAGES}'
    matcher.forget_images()
    assert matcher.add_tracks(99, CUP, .1) is None


def test_images_older_than_the_matched_one_are_dropped():
    matcher = paired()
    for stamp in (2, 3, 4):
        matcher.add_image(stamp, f'image {stamp}', .1)
    assert matcher.add_tracks(3, CUP, .1) == 'image 3'
    assert matcher.add_tracks(2, CUP, .1) is None
    assert matcher.add_tracks(4, CUP, .1) == 'image 4'


def test_images_without_a_stamp():
    matcher = TrackMatcher()
    for _ in range(3):
        matcher.add_image(0, 'image', 0.)
        assert matcher.add_tracks(0, CUP, 0.) == 'image'
