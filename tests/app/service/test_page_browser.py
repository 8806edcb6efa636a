"""The page of the service in a browser, used as people use it."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from recbole_universal import Recommender
from recbole_universal.app.service.app import create_app
from recbole_universal.app.service.settings import TOKEN, ServiceSettings

uvicorn = pytest.importorskip("uvicorn")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.is_file(), reason="Debian's chromium is not installed"),
]
N_ITEMS = 24
INJECTION = "<img src=x onerror=alert(1)>"
LONG = "A kettle of steel, 1.7 litres, with a whistle, for every stove, " + "Donaudampfschifffahrtsgesellschaft" * 2


def title(item: int) -> str:
    return {3: INJECTION, 4: LONG}.get(item, f"Title {item:02d}")


@pytest.fixture(scope="module")
def shops(saved, tmp_path_factory) -> tuple[Path, Path, Path]:
    """Folders of the recommenders [shop] and [ordered], and a table of titles."""
    folder = tmp_path_factory.mktemp("page") / "saved"
    shutil.copytree(saved, folder)
    rows = [(f"i{item}", title(item), item) for item in range(N_ITEMS)]
    pd.DataFrame(rows, columns=["item_id", "title", "price"]).to_csv(folder / "items.csv", index=False)
    return folder / "shop", folder / "ordered", folder / "items.csv"


class Server:
    """A service in a thread of this process."""

    def __init__(self, folders: tuple[Path, ...], items: Path) -> None:
        app = create_app(ServiceSettings(tuple(map(str, folders)), str(items)))
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=20)


@pytest.fixture(scope="module")
def origin(shops) -> Iterator[str]:
    server = Server(shops[:2], shops[2])
    yield server.origin
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    flags = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=str(CHROMIUM), chromium_sandbox=False, args=flags)
        yield made
        made.close()


@pytest.fixture
def tab(browser):
    """A new tab, which records the errors and the addresses of all requests."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.errors, page.asked = [], []
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("dialog", lambda dialog: (page.errors.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


def titles(tab, column: int = 0) -> list[str]:
    return tab.locator("article").nth(column).locator(".title").all_inner_texts()


def found_title(tab) -> str:
    return tab.locator("#results-title").inner_text()


def test_a_customer_is_searched_and_the_list_is_that_of_the_class(tab, origin, shops):
    tab.goto(origin)
    box = tab.get_by_role("combobox", name="Customer")
    box.fill("u1")
    options = tab.locator("#user-options [role=option]")
    options.first.wait_for()
    assert options.first.inner_text() == "u1" and options.count() == 11  # u1, u10, ..., u19
    options.nth(2).click()
    tab.wait_for_selector("article .title")
    assert found_title(tab) == "10 items for customer u11"
    expected = Recommender.load(shops[0]).recommend("u11", k=10)["item"]
    assert titles(tab) == [title(int(item[1:])) for item in expected]
    assert tab.locator(".rank").all_inner_texts() == [str(rank) for rank in range(1, 11)]
    assert not tab.errors and all(url.startswith(origin) for url in tab.asked)


def test_reasons_and_similar_items_are_shown_and_hidden(tab, origin):
    tab.goto(f'{origin}/#user="u7"')
    why = tab.get_by_role("button", name="Why?").first
    why.click()
    panel = tab.locator(".panel").first
    panel.locator(".bars").first.wait_for()
    assert panel.locator("h4").all_inner_texts() == [
        "Their items that speak for it",
        "Scorers that raise or lower its score most",
    ]
    widths = [bar.bounding_box()["width"] for bar in panel.locator(".bars").first.locator(".fill").all()]
    assert widths == sorted(widths, reverse=True) and widths[0] > 50
    panel.get_by_text("In words").click()
    assert "is number 1 of" in panel.inner_text()
    tab.get_by_role("button", name="Similar to").first.click()
    panel.locator(".near li").first.wait_for()
    assert why.get_attribute("aria-expanded") == "false" and panel.locator(".near li").count() == 5
    tab.get_by_role("button", name="Similar to").first.click()
    assert panel.is_hidden() and not tab.errors


def test_bars_have_the_direction_and_length_of_their_shares(tab, origin):
    scorers = [{"name": f"scorer {share}", "share": share} for share in (0.3, 0.1, 0.004, 0.0, 0.0, 0.0, -0.002, -0.2)]
    answer = {"model": "shop", "text": "In a sentence.", "items": [], "scorers": scorers}
    tab.route("**/explain", lambda route: route.fulfill(json=answer))
    tab.goto(f'{origin}/#user="u7"')
    tab.get_by_role("button", name="Why?").first.click()
    tab.locator(".bars").wait_for()
    assert tab.locator(".figure").all_inner_texts() == ["30 %", "10 %", "0.4 %", "0.0 %", "−0.2 %", "−20 %"]
    assert tab.get_by_text("And 2 more with smaller shares.").is_visible()
    boxes = [bar.bounding_box() for bar in tab.locator(".fill").all()]
    track = tab.locator(".track").first.bounding_box()
    zero = track["x"] + 0.4 * track["width"]  # shares reach from -0.2 to 0.3
    assert [boxes[k]["x"] for k in (0, 1, 2)] == pytest.approx([zero] * 3, abs=0.5)
    assert boxes[5]["x"] == pytest.approx(track["x"], abs=0.5)
    assert boxes[5]["x"] + boxes[5]["width"] == pytest.approx(zero, abs=0.5)
    assert [boxes[k]["width"] / track["width"] for k in (0, 1, 5)] == pytest.approx([0.6, 0.2, 0.4], abs=0.01)


def test_a_basket_is_built_by_keyboard_alone(tab, origin, shops):
    tab.goto(origin)
    tab.wait_for_selector("#about span")
    keys = tab.keyboard
    keys.press("Tab")
    assert tab.evaluate("document.activeElement.value") == "user"
    keys.press("ArrowRight")  # the other radio button
    keys.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "item"
    for text, option in (("title 0", "Title 01"), ("title 1", "Title 12")):
        keys.type(text)
        tab.get_by_role("option", name=option).wait_for()
        keys.press("ArrowDown")
        if option == "Title 12":
            keys.press("ArrowDown")
        active = tab.evaluate("document.getElementById('item').getAttribute('aria-activedescendant')")
        assert tab.locator(f"#{active}").inner_text().startswith(option)
        keys.press("Enter")
        tab.wait_for_function("() => document.getElementById('item').value === ''")
    entries = tab.locator("#basket .title")
    assert entries.all_inner_texts() == ["Title 01", "Title 12"]
    tab.wait_for_function("() => document.getElementById('results-title').textContent === '10 items for this basket'")
    for _ in range(6):  # past the buttons of the first entry, to those of the second
        keys.press("Tab")
        if tab.evaluate("document.activeElement.ariaLabel") == "Move Title 12 up":
            break
    keys.press("Enter")
    assert entries.all_inner_texts() == ["Title 12", "Title 01"]
    assert tab.locator("#done").inner_text() == "Title 12 is now number 1 of 2."
    tab.wait_for_load_state("networkidle")
    expected = Recommender.load(shops[0]).recommend(histories=[["i12", "i1"]], k=10)["item"]
    assert titles(tab) == [title(int(item[1:])) for item in expected]
    assert tab.evaluate("document.activeElement.ariaLabel") == "Move Title 12 down"  # up is not possible any more
    keys.press("Tab")
    keys.press("Enter")
    assert entries.all_inner_texts() == ["Title 01"] and not tab.errors


def test_escape_closes_the_suggestions_and_then_empties_the_field(tab, origin):
    tab.goto(origin)
    box = tab.get_by_role("combobox", name="Customer")
    box.fill("u")
    options = tab.locator("#user-options [role=option]")
    options.first.wait_for()
    assert box.get_attribute("aria-expanded") == "true"
    box.press("Escape")
    assert box.get_attribute("aria-expanded") == "false" and box.input_value() == "u"
    assert options.count() == 0
    box.press("Escape")
    assert box.input_value() == ""


def test_enter_takes_the_option_of_the_text_however_fast_it_comes(tab, origin):
    tab.goto(origin)
    box = tab.get_by_role("combobox", name="Customer")
    box.fill("u1")
    tab.locator("#user-options [role=option]").first.wait_for()
    box.press("7")
    box.press("Enter")  # the options are still those of u1
    tab.get_by_role("heading", name="10 items for customer u17").wait_for()
    box.fill("nobody")
    box.press("Enter")
    tab.get_by_role("heading", name="10 items for customer nobody").wait_for()
    assert "nobody" in tab.locator("#notes").inner_text() and not tab.errors


def test_an_address_with_a_model_that_is_not_there_says_so(tab, origin):
    tab.goto(f'{origin}/#user="u7"&model=gone')
    assert "there is no model [gone]" in tab.get_by_role("alert").inner_text()
    tab.get_by_label("Model").select_option("ordered")
    tab.wait_for_selector("article .title")


def test_two_models_are_compared(tab, origin, shops):
    tab.goto(f'{origin}/#user="u7"')
    tab.get_by_label("Compare with").select_option("ordered")
    tab.wait_for_selector("article:nth-of-type(2) .title")
    lists = [Recommender.load(folder).recommend("u7", k=10)["item"].tolist() for folder in shops[:2]]
    assert [titles(tab, k) for k in (0, 1)] == [[title(int(item[1:])) for item in one] for one in lists]
    both = [item for item in lists[0] if item in lists[1]]
    assert tab.locator("article h3").all_inner_texts() == ["shop", "ordered"]
    assert tab.locator("#summary").inner_text().startswith(f"{len(both)} items are in both lists")
    marks = [f"Also number {lists[1].index(item) + 1} there" for item in both]
    assert tab.locator("article").first.locator(".both").all_inner_texts() == marks and marks
    assert tab.evaluate("location.hash").endswith("with=ordered") and not tab.errors


def test_a_shared_address_shows_the_same_view(tab, origin, shops):
    tab.goto(f'{origin}/#basket=["i3","i4"]&k=3&seen=1&with=ordered')
    tab.wait_for_selector("article:nth-of-type(2) .title")
    tab.wait_for_function("() => document.querySelector('#basket .title').textContent.startsWith('<img')")
    assert tab.locator("#basket .title").all_inner_texts() == [INJECTION, LONG]
    had = Recommender.load(shops[0]).recommend(histories=[["i3", "i4"]], k=3, filter_seen=False)["item"]
    assert titles(tab) == [title(int(item[1:])) for item in had]
    assert tab.locator("#filters-set").inner_text() == "3 items · what they had too"
    tab.get_by_role("radio", name="a customer").check()
    tab.get_by_text("Choose a customer").wait_for()
    tab.go_back()
    tab.wait_for_selector("article .title")
    assert tab.locator("#basket .title").count() == 2 and not tab.errors


def test_a_condition_is_asked_for_where_the_service_has_an_item_table(tab, origin):
    def without_columns(route):
        models = route.fetch().json()
        route.fulfill(json={**models, "models": [{**one, "columns": []} for one in models["models"]]})

    tab.route("**/models", without_columns)
    tab.goto(origin)
    tab.get_by_text("Filters").click()
    tab.get_by_label("How many").wait_for()
    assert tab.get_by_label("Only items where").is_hidden()

    tab.unroute("**/models")
    tab.goto("about:blank")
    tab.goto(f'{origin}/#user="u7"')
    tab.wait_for_selector("article .title")
    tab.get_by_text("Filters").click()
    assert "Columns: item_id, title, price." in tab.locator("#where-hint").inner_text()
    tab.get_by_label("Only items where").fill(" price < 10 ")
    with tab.expect_request("**/recommend") as asked:
        tab.keyboard.press("Enter")
    assert asked.value.post_data_json == {"k": 10, "users": ["u7"], "where": "price < 10", "model": "shop"}
    assert "where=price" in tab.url
    playwright.expect(tab.locator("article .title")).not_to_have_count(10)
    assert set(titles(tab)) <= {title(item) for item in range(10)}


def test_titles_and_ids_are_text(tab, origin):
    tab.goto(f'{origin}/#user="{INJECTION}"&k=24')
    tab.get_by_text(INJECTION).first.wait_for()
    assert INJECTION in titles(tab)
    assert tab.locator("#notes").inner_text().count(INJECTION) == 1  # the unknown user is named
    tab.get_by_role("button", name=f"Why? {INJECTION}").click()
    tab.locator(".panel:not([hidden]) p").first.wait_for()
    assert tab.locator("#results img").count() == 0 and not tab.errors


def test_integers_of_64_bits_keep_every_digit(tab, origin):
    tab.goto(origin)
    text = '{"users":[9007199254740993,-9223372036854775808,7,"9007199254740993",0.5]}'
    script = "async (text) => { const api = await import('/static/api.js'); return api.toJson(api.fromJson(text)); }"
    assert tab.evaluate(script, text) == text


def test_errors_are_said_in_words(tab, origin):
    tab.goto(f'{origin}/#user="u7"')
    tab.wait_for_selector("article .title")
    tab.context.set_offline(True)
    tab.get_by_text("Filters").click()
    tab.get_by_label("How many").fill("5")
    tab.get_by_label("How many").press("Enter")
    tab.get_by_role("alert").wait_for()
    assert "The service cannot be reached." in tab.get_by_role("alert").inner_text()
    tab.context.set_offline(False)
    tab.get_by_role("button", name="Try again").click()
    tab.wait_for_selector("article .title")
    assert len(titles(tab)) == 5

    def failing(status: int, body: str) -> str:
        tab.route("**/recommend", lambda route: route.fulfill(status=status, body=body))
        tab.get_by_label("Also recommend what they had").click()
        tab.wait_for_selector("[aria-busy=false] [role=alert]")
        tab.unroute("**/recommend")
        return tab.get_by_role("alert").inner_text()

    assert failing(422, '{"detail": "k: must be at most 1000."}') == "k: must be at most 1000."
    assert failing(500, '{"detail": null}') == "The service failed (status 500). Its log says why."
    assert failing(502, "<html>") == "The service gave an answer that is not JSON (status 502)."
    assert all("Failed to load resource" in error for error in tab.errors)


def test_a_token_is_asked_for_and_stays_in_the_tab(tab, shops, monkeypatch):
    monkeypatch.setenv(TOKEN, "open-sesame")
    server = Server(shops[:1], shops[2])
    try:
        tab.goto(f'{server.origin}/#user="u7"')
        field = tab.get_by_label("Token")
        field.wait_for()
        assert tab.get_by_role("alert").inner_text() == "This service needs a token."
        field.fill("wrong")
        field.press("Enter")
        tab.get_by_text("The service does not accept this token.").wait_for()
        field.fill("open-sesame")
        field.press("Enter")
        tab.wait_for_selector("article .title")
        assert field.is_hidden() and "sesame" not in tab.url
        assert tab.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
        assert not any("sesame" in url for url in tab.asked)
        tab.get_by_role("button", name="Forget the token").click()
        field.wait_for()
        assert tab.evaluate("sessionStorage.length") == 0
    finally:
        server.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_and_targets_are_large(tab, origin, scheme):
    tab.set_viewport_size({"width": 400, "height": 800})
    tab.emulate_media(color_scheme=scheme)
    tab.goto(f'{origin}/#basket=["i3","i4"]&with=ordered')
    tab.wait_for_selector("article:nth-of-type(2) .title")
    tab.get_by_role("button", name="Why?").first.click()
    tab.locator(".bars").first.wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    small = """() => [...document.querySelectorAll('button, select, summary, input:not([type=checkbox]), label.check')]
        .map((one) => [one.outerHTML, one.getBoundingClientRect()])
        .filter(([, box]) => box.width && (box.height < 44 || box.width < 44)).map(([html]) => html)"""
    assert tab.evaluate(small) == []
    assert tab.evaluate(CONTRAST) == []


# Texts of less contrast to their background than WCAG AA asks of text of usual size.
CONTRAST = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    const color = getComputedStyle(one).backgroundColor;
    return channels(color)[3] === 0 ? (one.parentElement ? ground(one.parentElement) : 'rgb(255, 255, 255)') : color;
  };
  const texts = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && !one.disabled
    && [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()));
  return texts.filter((one) => {
    const pair = [luminance(getComputedStyle(one).color), luminance(ground(one))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05) < 4.5;
  }).map((one) => one.outerHTML.slice(0, 120));
}"""
