# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Hooks of the documentation's build (mkdocs.yml).

The site has the folder docs/ as its root. The pages and files of the repository's root that the
documentation links to are added to it, and links between the two are rewritten, so that the same
links work in the repository and on the site.
"""

from pathlib import Path
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = ('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md')
LINK = re.compile(r'\]\((?:\.\./)?(?:docs/)?([^)#:]+)')


def linked_files() -> set[str]:
    """Return the files outside docs/ that the pages link to, relative to the root."""
    pages = [(ROOT / name, ROOT) for name in PAGES]
    pages += [(path, ROOT / 'docs') for path in (ROOT / 'docs').glob('*.md')]
    targets = {(folder / link).resolve() for page, folder in pages
               for link in re.findall(r'\]\(([^)#:]+)', page.read_text())}
    return {str(path.relative_to(ROOT)) for path in targets
            if path.is_file() and ROOT / 'docs' not in path.parents}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add pages and files of the repository's root."""
    for name in sorted(linked_files() | set(PAGES)):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links between docs/ and the repository's root."""
    return LINK.sub(r'](\1', markdown)
