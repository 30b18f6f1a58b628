"""Hook of MkDocs: pages that do not lie in docs/, the table of settings, and one API page for each sub-package.

Links are written for readers of the repository, relative to the file they stand in; those to files that this hook
brings along are turned to their place in the site. All other links that lead nowhere fail a strict build.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
    "pipeline/weights/compact/MODEL_CARD.md": "model_card.md",
    "pipeline/report/assets/report.schema.json": "report.schema.json",
}
"""Place in the site of files from outside of docs/."""

PACKAGES = ("pipeline", "extractors", "models", "data", "configs")
_LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the API pages at the end of the navigation."""
    assert config.nav is not None
    config.nav.append({"API": [{name: page} for name, page in _api_pages().items()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of docs/ and those that are written here."""
    for source, target in _places().items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, "settings.md", content=_settings()))
    for name, page in _api_pages().items():
        files.append(File.generated(config, page, content=_api(name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that are relative to the repository into links that are relative to the site."""
    source_of = {target: source for source, target in _places().items()}
    here = source_of.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def turned(link: re.Match[str]) -> str:
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(here), link[2]))
        target = _places().get(wanted, wanted.removeprefix("docs/") if wanted.startswith("docs/") else None)
        if ":" in link[2] or target is None:
            return link[0]
        return link[1] + posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")

    return _LINK.sub(turned, markdown)


def _places() -> dict[str, str]:
    presets = (ROOT / "configs" / "datasets").glob("*.yaml")
    return PAGES | {f"configs/datasets/{path.name}": f"presets/{path.name}" for path in presets}


def _api_pages() -> dict[str, str]:
    """The sub-packages that hold modules of ours, each with its page."""
    folders = {path.parent for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    names = sorted(folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in folders)
    return {name: f"api/{name}.md" for name in names}


def _api(package: str) -> str:
    """A page of one sub-package: what its `__init__` says, then its modules."""
    folder = ROOT / package.replace(".", "/")
    modules = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("__"))
    parts = [f"# {package}", f"::: {package}\n    options: {{show_root_heading: false, members: false}}"]
    parts += [f"::: {package}.{module}" for module in modules]
    return "\n\n".join(parts) + "\n"


def _settings() -> str:
    """The page of all settings."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from configs.table import setting_rows

    lines = [
        "# Settings",
        "",
        "Any setting can be given to a command with `--set NAME=VALUE`. `pipeline config --preset NAME`",
        "prints this table with the values of a preset, `pipeline config --weights DIR` with those of trained weights.",
        "",
        "| setting | default | meaning |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{row.name}` | `{row.default}` | {row.meaning} |" for row in setting_rows()]
    return "\n".join(lines) + "\n"
