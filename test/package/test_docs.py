# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""The documentation: its links, and the web site made from it."""

import os
import re
import subprocess
import sys

import pytest


def headings(path):
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r'```.*?```', '', path.read_text(), flags=re.DOTALL)
    return {re.sub(r'[^\w\- ]', '', line).strip().lower().replace(' ', '-')
            for line in re.findall(r'^#+ (.*)$', text, flags=re.MULTILINE)}


def test_links_lead_to_files_and_headings(root):
    dead = []
    for page in [*root.glob('*.md'), *root.glob('docs/*.md')]:
        for link, anchor in re.findall(r'\]\(([^)#:]*)(?:#([^)]+))?\)', page.read_text()):
            target = (page.parent / link).resolve() if link else page
            if not target.exists() or (anchor and anchor not in headings(target)):
                dead.append(f'{page.name}: {link}#{anchor}')
    assert dead == []


def test_site_is_built_without_warnings(root, tmp_path):
    pytest.importorskip('material')
    pytest.importorskip('mkdocstrings')
    result = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--quiet', '--strict', '-d', tmp_path / 'site'],
        cwd=root, env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'},
        capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    api = (tmp_path / 'site' / 'api' / 'index.html').read_text()
    assert 'id="re3_core.Tracker.update"' in api
    assert 'src="http' not in api
    assert (tmp_path / 'site' / 'config' / 'tracker.yaml').read_text() == (
        root / 'config' / 'tracker.yaml').read_text()
