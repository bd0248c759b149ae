# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""Run the scenarios and write the report: `python -m stress --help`."""

import argparse
import os
from pathlib import Path
import sys
import traceback

from re3_ros.demo.processes import find_config, isolate_ros_domain
from tqdm import tqdm

# Apart from other users of ROS on this machine; above 101 the ports may be in use.
DOMAIN = 1 + os.getpid() % 100


def parse_arguments(names):
    """Return the command line's arguments; `names` are those of the scenarios."""
    parser = argparse.ArgumentParser(prog='stress', description=__doc__)
    parser.add_argument('--output', type=Path, default=Path('stress_output'),
                        help='folder for report, plots and logs')
    parser.add_argument('--minutes', type=float, default=30., help='of soak')
    parser.add_argument('--quick', action='store_true',
                        help='measure briefly and repeat seldom: only whether it works')
    parser.add_argument('--only', nargs='+', choices=names, default=names, metavar='NAME',
                        help=f'scenarios to run: {", ".join(names)}')
    parser.add_argument('--docs', type=Path, metavar='FILE',
                        help='Markdown file to put the report into, between its markers')
    return parser.parse_args()


def main():
    """Run the scenarios that were asked for; return 1 if a condition does not hold."""
    os.environ['OMP_NUM_THREADS'] = '1'
    isolate_ros_domain(os.environ, DOMAIN, find_config())
    # Only now: the middleware reads the environment when it is loaded.
    import rclpy
    from stress import report
    from stress.bench import Result, StressBench, StressConfig
    from stress.scenarios import SCENARIOS
    arguments = parse_arguments(list(SCENARIOS))
    make_config = StressConfig.quick if arguments.quick else StressConfig
    config = make_config(arguments.minutes)
    bench = StressBench(arguments.output, config)
    rclpy.init()
    passed = True
    for name in tqdm(arguments.only, unit='scenario'):
        about = report.circumstances(config)
        result = run_scenario(SCENARIOS[name], bench, Result)
        result.about = about
        result.write(bench.result_file(name))
        passed &= result.passed
        tqdm.write(f'{name}: {"passed" if result.passed else "FAILED"}')
    rclpy.try_shutdown()
    # Also those of earlier calls: one scenario may be repeated without the others.
    markdown = report.to_markdown({
        name: Result.read(bench.result_file(name)) for name in SCENARIOS
        if bench.result_file(name).exists()})
    (arguments.output / 'report.md').write_text(markdown)
    if arguments.docs:
        report.put_into_docs(arguments.docs, markdown)
    print(markdown)
    return 0 if passed else 1


def run_scenario(scenario, bench, result_type):
    """Return a scenario's Result; if it raises an error, one with the error."""
    try:
        return scenario(bench)
    except (RuntimeError, OSError) as error:
        tqdm.write(traceback.format_exc())
        result = result_type(scenario.__doc__.strip().splitlines()[0], 'It broke down.')
        result.check('the scenario runs to its end', False, error)
        return result


if __name__ == '__main__':
    sys.exit(main())
