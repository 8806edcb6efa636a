"""The files of the service's page: complete, small, without outside addresses, and served with the right types."""

from __future__ import annotations

import re
from pathlib import Path

import recbole_universal

PAGE = Path(recbole_universal.__file__).parent / "app" / "service" / "page"
INDEX = (PAGE / "index.html").read_text(encoding="utf-8")
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in PAGE.glob("*.js")}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def test_the_page_is_small():
    assert sum(path.stat().st_size for path in PAGE.iterdir()) < 60_000


def test_no_file_has_an_outside_address():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")  # the name of the format
        assert not re.search(r"""(?:https?:|["'(])//|@import|data:""", text), path.name


def test_a_strict_policy_of_contents_is_met():
    """No script, style or handler stands in the page, and no text becomes HTML."""
    assert re.findall(r"<script[^>]*>([^<]*)</script>", INDEX) == [""]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", INDEX)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', INDEX)[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    as_code = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert not [name for name, text in SCRIPTS.items() if re.search(as_code, text)]


def test_what_the_files_name_exists():
    ids = re.findall(r'\sid="([^"]+)"', INDEX)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:for|aria-controls|aria-describedby|aria-labelledby)="([^"]+)"', INDEX)) <= set(ids)
    for text in SCRIPTS.values():
        assert set(re.findall(r'byId\("([^"]+)"\)', text)) <= set(ids)
        for names, module in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', text):
            exported = re.findall(r"export (?:async )?(?:function|const|class) (\w+)", SCRIPTS[module])
            assert {name.strip() for name in names.split(",")} <= set(exported)
    named = re.findall(r'(?:href|src)="static/([^"]+)"', INDEX)
    assert named and set(named) <= {path.name for path in PAGE.iterdir()}


def test_every_field_has_a_label():
    fields = re.findall(r'<(?:input|select) id="([^"]+)"', INDEX)
    labelled = set(re.findall(r'<label for="([^"]+)"', INDEX))
    wrapped = set(re.findall(r'<label class="check"><input id="([^"]+)"', INDEX))
    assert fields and set(fields) <= labelled | wrapped


def test_the_page_is_served_with_types_and_a_policy(client):
    page = client.get("/")
    assert page.text == INDEX and page.headers["content-type"].split(";")[0] == "text/html"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for path in PAGE.iterdir():
        answer = client.get(f"/static/{path.name}")
        assert answer.status_code == 200 and answer.content == path.read_bytes()
        assert answer.headers["content-type"].split(";")[0] == TYPES[path.suffix]
