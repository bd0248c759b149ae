#!/usr/bin/env bash
# Builds this package with colcon into build/ and install/, from scratch, so that no deleted file
# remains installed. One build at a time; its output is shown only when it fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec 9>.venv/build.lock
flock 9
rm -rf build/re3_ros install/re3_ros install/.built
if ! output=$(scripts/in_env.sh colcon --log-base log/colcon build --base-paths . \
        --packages-select re3_ros 2>&1); then
    printf '%s\n' "$output" >&2
    exit 1
fi
touch install/.built
