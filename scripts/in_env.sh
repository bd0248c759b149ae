#!/usr/bin/env bash
# Runs a command in the environment of 'make setup', with the built package, and with one ROS
# domain and one transport (see config/fastdds.xml) for the command and its child processes.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
set +u    # the setup files of ROS read variables that may be unset
. "$root/.venv/setup.bash"
[ ! -f "$root/install/local_setup.bash" ] || . "$root/install/local_setup.bash"
set -u
case ${ROS_DISTRO:-} in    # Fast DDS 2 has another name for it, of which Fast DDS 3 warns
    humble|iron|jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE=$root/config/fastdds.xml ;;
    *) export FASTDDS_DEFAULT_PROFILES_FILE=$root/config/fastdds.xml ;;
esac
export RMW_IMPLEMENTATION=rmw_fastrtps_cpp
export ROS_DOMAIN_ID=$((1 + $$ % 100))
export ROS_LOG_DIR=$root/log/ros
# Both would replace the transports of that file.
unset ROS_LOCALHOST_ONLY ROS_AUTOMATIC_DISCOVERY_RANGE ROS_STATIC_PEERS
exec "$@"
