#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0
# Installs the Chromium and chromedriver of the distribution for the tests of the web page, where
# they are missing and that is possible without a password. Without them these tests are skipped.
set -euo pipefail
if command -v chromedriver >/dev/null && { command -v chromium || command -v chromium-browser; } \
        >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo 'install_browser: no apt-get here; install chromium and chromedriver yourself' >&2
    exit 0
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root='sudo -n'
else
    echo 'install_browser: not root; install chromium and chromium-driver with apt-get' >&2
    exit 0
fi
echo 'install_browser: chromium ...'
if ! { $as_root apt-get -qq update && $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends chromium chromium-driver \
        fonts-dejavu-core; } >/dev/null 2>&1; then
    echo 'install_browser: apt-get could not install chromium; its tests are skipped' >&2
fi
