"""Hooks of the docs site: roles of docstrings become code, tables fit, plots read Plotly from the site itself."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

_ROLE = re.compile(r":(?:py:)?(?:attr|class|data|exc|func|meth|mod|obj):(?:<code>|`)~?([^<`]+)(?:</code>|`)")
_CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
_CODE = re.compile(r"<code>[^<]*</code>")
_CDN = re.compile(r'<script[^>]*src="https://cdn\.plot\.ly/[^"]*"[^>]*></script>')
_LOCAL = '<script charset="utf-8" src="plotly.min.js"></script>'


def on_page_content(html: str, **_: Any) -> str:
    """Show a Sphinx role of a docstring, such as ``:class:`X```, as code; let code in tables break after ``_``."""
    html = _ROLE.sub(r"<code>\1</code>", html)
    return _CELL.sub(lambda cell: _CODE.sub(_breakable, cell[0]), html)


def _breakable(code: re.Match[str]) -> str:
    """Code that a narrow column may break after an underscore or a slash."""
    inside = code[0].removeprefix("<code>").removesuffix("</code>")
    return "<code>" + re.sub("([_/])", r"\1<wbr>", inside) + "</code>"


def on_post_build(config: Any, **_: Any) -> None:
    """Let the plots read a copy of Plotly in the site, so that they need no network."""
    site = Path(config["site_dir"])
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        if _CDN.search(text):
            page.write_text(_CDN.sub(_LOCAL, text), encoding="utf-8")
            _copy_plotly(site)


def _copy_plotly(site: Path) -> None:
    import plotly

    target = site / "plotly.min.js"
    if not target.exists():
        shutil.copyfile(Path(plotly.__file__).parent / "package_data" / "plotly.min.js", target)
