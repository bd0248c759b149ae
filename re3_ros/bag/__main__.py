# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Work with ROS 2 bags: `python -m re3_ros.bag info|track|play|extract BAG`.

Exit status: 0 done, 1 an error, 2 wrong usage, 3 done as far as the bag could be read, 130
interrupted.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, ExitStack
import functools
import json
import logging
import os
from pathlib import Path
import signal
import sqlite3
import sys
from typing import Any

from re3_core.io.files import printable
from re3_ros.bag import formats

DONE, ERROR, INCOMPLETE, INTERRUPTED = 0, 1, 3, 130
ROS_ARGUMENTS = '--ros-args'

_log = logging.getLogger('re3_ros.bag')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    ros_arguments: list[str] = []
    if ROS_ARGUMENTS in arguments:
        at = arguments.index(ROS_ARGUMENTS)
        arguments, ros_arguments = arguments[:at], arguments[at:]
    options = _parser().parse_args(arguments)
    options.ros_arguments = ros_arguments
    try:
        with _logging_to_stderr(options.quiet), _interrupted_by_sigterm():
            status = options.run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:     # of `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print('interrupted: unfinished results are deleted; the same command starts with the '
              'first unfinished bag', file=sys.stderr)
        return INTERRUPTED
    except ImportError as error:
        print(f'error: {error.name or error} is not installed: pip install "re3_ros[bags]"'
              + (' (play also needs ROS 2)' if options.command == 'play' else ''),
              file=sys.stderr)
    except (ValueError, OSError, RuntimeError, sqlite3.Error) as error:
        print(f'error: {_one_line(error)}', file=sys.stderr)
    return ERROR


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Handle SIGTERM as SIGINT, so that unfinished files are deleted."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _logging_to_stderr(quiet: bool) -> Iterator[None]:
    """Print what the packages log, a line each, above the progress bar."""
    from tqdm import tqdm

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(self.format(record), file=sys.stderr)
    handler = Handler()
    loggers = [logging.getLogger(name) for name in ('re3_core', 're3_ros')]
    for logger in loggers:
        logger.setLevel(logging.WARNING if quiet else logging.INFO)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = f': {printable(error.filename)}' if error.filename else ''
        return f'{error.strerror}{name}'
    return ' '.join(str(error).split()) or type(error).__name__


# ---- commands ----

def _open(path: Path) -> Any:
    from re3_ros.bag.reader import Bag
    return Bag(path)


def _report(problems: Sequence[str]) -> int:
    """Log what a bag lacks; return the exit status."""
    for problem in problems:
        _log.warning('incomplete: %s', problem)
    return INCOMPLETE if problems else DONE


def _run_info(options: argparse.Namespace) -> int:
    from re3_ros.bag.info import as_text, describe
    with _open(options.bag) as bag:
        info = describe(bag)
        print(json.dumps(info, indent=1) if options.json else as_text(info))
        return _report(bag.problems)


def _run_track(options: argparse.Namespace) -> int:
    from re3_ros.bag.parameter_file import read_parameter_file
    from re3_ros.bag.track import make_tracker, parameter_values
    values = parameter_values({
        **(read_parameter_file(options.params) if options.params else {}),
        **dict(options.param),
        **{name: getattr(options, name) for name in ('model', 'weights', 'device', 'precision')
           if getattr(options, name) is not None}})
    # Made when the first bag has been opened, once for all of them.
    tracker = functools.cache(lambda: make_tracker(values))
    statuses = []
    for path in options.bags:
        try:
            statuses.append(_track_bag(path, options, values, tracker))
        except (ValueError, OSError, RuntimeError, sqlite3.Error) as error:
            print(f'error: {_one_line(error)}', file=sys.stderr)
            statuses.append(ERROR)
    return ERROR if ERROR in statuses else max(statuses)


def _track_bag(path: Path, options: argparse.Namespace, values: dict[str, Any],
               tracker: Callable[[], Any]) -> int:
    from re3_ros.bag.inits import parse_inits
    from re3_ros.bag.track import choose_cameras, Job, Span, track_camera
    job = Job(parse_inits(options.init), values, tuple(options.formats), options.namespace,
              options.storage, Span(options.start, options.end), not options.quiet,
              options.overwrite)
    with _open(path) as bag:
        cameras = choose_cameras(bag, options.topic)
        root = _result_folder(path, options, '_tracks')
        complete = True
        for camera in cameras:
            folder = root / camera.name if camera.name else root
            summary = track_camera(bag, camera, folder, job, tracker())
            complete &= summary.complete
            print(f'{printable(folder)}: finished before, left as it is' if summary.skipped else
                  f'{printable(folder)}: {summary.targets} targets in {summary.images} images'
                  + (f', {summary.refused} images could not be used' * bool(summary.refused)))
        return _report(bag.problems) or (DONE if complete else INCOMPLETE)


def _result_folder(path: Path, options: argparse.Namespace, suffix: str) -> Path:
    name = path.resolve().name.split('.')[0] if path.is_file() else path.resolve().name
    if options.output is None:
        return Path(f'{name}{suffix}')
    return options.output / name if len(options.bags) > 1 else options.output


def _run_extract(options: argparse.Namespace) -> int:
    from re3_ros.bag.extract import extract
    from re3_ros.bag.track import Span
    options.bags = [options.bag]
    with _open(options.bag) as bag:
        folder = _result_folder(options.bag, options, '_frames')
        written, refused = extract(
            bag, bag.image_topic(options.topic), folder, options.format,
            Span(options.start, options.end), options.every, options.overwrite,
            not options.quiet)
        print(f'{printable(folder)}: {written} images'
              + f', {refused} could not be used' * bool(refused))
        return _report(bag.problems) or (INCOMPLETE if refused else DONE)


def _run_play(options: argparse.Namespace) -> int:
    from re3_ros.bag.play import play, PlayOptions
    with ExitStack() as stack:
        bags = [stack.enter_context(_open(path)) for path in options.bags]
        published = play(bags, options.topic, PlayOptions(
            options.rate, options.loop, options.start, options.end, options.clock,
            options.wait_for_subscribers, options.best_effort), options.ros_arguments)
        print(f'{published} messages published')
        return _report([problem for bag in bags for problem in bag.problems])


# ---- options ----

def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m re3_ros.bag',
        description='Work with ROS 2 bags (mcap and sqlite3); only play needs ROS.',
        epilog='Exit status: 0 done, 1 an error, 2 wrong usage, 3 done as far as the bag could '
               'be read, 130 interrupted.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, add, run, text in (
            ('info', _add_info, _run_info, 'list the contents of a bag'),
            ('track', _add_track, _run_track, 'track targets through the images of bags'),
            ('play', _add_play, _run_play, 'publish the messages of bags (needs ROS 2)'),
            ('extract', _add_extract, _run_extract, 'write the images of a bag as files')):
        command = commands.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.')
        command.set_defaults(run=run)
        command.add_argument('--quiet', action='store_true',
                             help='no progress bar and no messages but warnings')
        add(command)
    return parser


def _add_info(command: argparse.ArgumentParser) -> None:
    command.add_argument('bag', type=Path, metavar='BAG', help=_BAG)
    command.add_argument('--json', action='store_true', help='print JSON')


def _add_track(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add('bags', type=Path, nargs='+', metavar='BAG', help=_BAG)
    add('--init', action='append', metavar='INIT', required=True,
        help='where targets start, may be repeated: topic (boxes recorded on /re3/init) or '
             'topic:NAME; a CSV file with the columns time,x,y,w,h and optionally '
             'id,class_id,camera; or [ID=]x,y,w,h@seconds after the first image')
    add('--topic', action='append', default=[], metavar='[NAME=]TOPIC',
        help='images to track in; may be repeated, with names of cameras; default: the only one')
    add('--output', type=Path, metavar='DIR', help='default: BAG_tracks')
    add('--formats', nargs='+', choices=formats.FORMATS, default=list(formats.FORMATS),
        metavar='FORMAT', help=f'some of {", ".join(formats.FORMATS)}; default: all')
    add('--storage', choices=('mcap', 'sqlite3'), default='',
        help='of the bag that is written; default: that of the recording')
    add('--namespace', type=_namespace, default='/re3', help='of the topics, default /re3')
    for name in ('model', 'weights', 'device', 'precision'):
        add(f'--{name}', help=f"the node's parameter {name}")
    add('--params', type=Path, metavar='FILE',
        help="the node's YAML file of parameters, as for --ros-args --params-file")
    add('--param', action='append', type=_parameter, default=[], metavar='NAME=VALUE',
        help='another parameter of the node, such as lost_confidence=0.3; may be repeated')
    _add_span(command)
    add('--overwrite', action='store_true', help='replace the results of another run')


def _add_extract(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add('bag', type=Path, metavar='BAG', help=_BAG)
    add('--topic', help='images to extract; default: the only one')
    add('--output', type=Path, metavar='DIR', help='default: BAG_frames')
    add('--format', choices=formats.EXTRACTED, default='png',
        help='png (default), jpg (a recorded JPEG as it is) or video')
    add('--every', type=_positive_integer, default=1, metavar='N', help='take each n-th image')
    _add_span(command)
    add('--overwrite', action='store_true', help='replace what is there')


def _add_play(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add('bags', type=Path, nargs='+', metavar='BAG', help=_BAG + '; several play together')
    add('--topic', action='append', default=[],
        help='topic to publish, may be repeated; default: all whose types are installed')
    add('--rate', type=_positive, default=1., help='how many times as fast, default 1')
    add('--loop', action='store_true', help='start again at the end')
    _add_span(command)
    add('--clock', type=_not_negative, default=100., metavar='HZ',
        help='messages on /clock per second, default 100; 0: none')
    add('--wait-for-subscribers', type=int, default=0, metavar='N',
        help='start when the images have N subscriptions')
    add('--best-effort', action='store_true', help='offer best effort instead of reliable')


_BAG = 'folder of a bag, or one .mcap or .db3 file'


def _add_span(command: argparse.ArgumentParser) -> None:
    command.add_argument('--start', type=_not_negative, default=0., metavar='SECONDS',
                         help='skip what is before, counted from the first message')
    command.add_argument('--end', type=_positive, metavar='SECONDS', help='stop there')


def _number(text: str, allowed: str, positive: bool) -> float:
    try:
        value = float(text)
        if value < 0 or positive and value == 0 or not value < float('inf'):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected a number {allowed}, got {text!r}') from None
    return value


def _positive(text: str) -> float:
    return _number(text, 'above 0', True)


def _not_negative(text: str) -> float:
    return _number(text, 'from 0 on', False)


def _positive_integer(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number above 0, got {text!r}')
    return int(text)


def _namespace(text: str) -> str:
    name = '/' + text.strip('/')
    if not all(part.isidentifier() for part in name[1:].split('/')):
        raise argparse.ArgumentTypeError(f'expected a namespace such as /re3, got {text!r}')
    return name


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition('=')
    if not equals:
        raise argparse.ArgumentTypeError(f'expected NAME=VALUE, got {text!r}')
    return name.strip(), value.strip()


if __name__ == '__main__':
    sys.exit(main())
