"""The page in a real browser: Chromium without a screen, driven by Playwright.

Where Chromium is not installed (Debian: ``apt-get install chromium``) or not on the path, the tests are skipped and say
so; ``FAIRSEQ_MUSC_CHROMIUM`` names one that lies elsewhere.
"""

import json
import os
import shutil

import pytest
from hostile_page import write_hostile
from page_world import LABELS, ROWS, text_of, write_world

from fairseq_musc.cli import main

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1200, "height": 900}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium():
    return os.environ.get("FAIRSEQ_MUSC_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


pytestmark = pytest.mark.skipif(chromium() is None, reason=f"no browser: none of {', '.join(NAMES)} is on the path")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as drive:
        started = drive.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of two settings, the first with texts that are out to break it."""
    root = tmp_path_factory.mktemp("world")
    runs = [write_world(root, terms="ce"), write_world(root / "other", terms="ce+mu")]
    output = root / "report.html"
    corpora = [str(root / "corpora"), str(root / "other" / "corpora")]
    command = ["page", "--predictions", *map(str, runs), "--corpora", *corpora, "--examples", "50"]
    assert main([*command, "--output", str(output)]) == 0
    return output.as_uri()


@pytest.fixture
def opened(browser, address):
    """Opens the page anew; at the end of the test nothing was loaded and nothing was complained of."""
    contexts, requests, said = [], [], []

    def open_(viewport=DESK, colours="light", javascript=True):
        context = browser.new_context(
            viewport=viewport, color_scheme=colours, java_script_enabled=javascript, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [url for url in requests if url not in (address, "data:,")] == []
    assert said == []


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")


def shown(page, place=0):
    """The examples of a setting that can be seen, in their order: language, kind and id."""
    return page.evaluate(
        """place => Array.from(document.querySelectorAll('.examples')[place].children)
             .filter((item) => !item.hidden)
             .map(({dataset}) => [dataset.language, dataset.kind, dataset.id, Number(dataset.change)])""",
        place,
    )


@pytest.mark.parametrize("width", [320, 360, 768])
@pytest.mark.parametrize("folded", [True, False])
def test_nothing_sticks_out_of_the_screen(opened, width, folded):
    page = opened({"width": width, "height": 740})
    if not folded:
        unfold(page)
        page.evaluate("document.querySelectorAll('.more').forEach((button) => button.click())")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.evaluate(
        """() => Array.from(document.querySelectorAll('main *, header *, nav *, footer *'))
             .filter((e) => !e.closest('.scroll, .probabilities, pre, svg') && e.getClientRects().length)
             .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5)
             .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert boxes == []
    if width == 360 and not folded:
        wide = page.evaluate(
            "Array.from(document.querySelectorAll('.scroll')).filter((e) => e.scrollWidth > e.clientWidth + 1).length"
        )
        assert wide > 3  # so the boxes are what keeps the page narrow


def test_dark_is_dark_by_the_system_and_by_the_switch(opened):
    def look(page):
        return page.evaluate(
            """() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
                      getComputedStyle(document.querySelector('svg .blue')).stroke]"""
        )

    light, dark = look(opened(colours="light")), look(opened(colours="dark"))
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page = opened(colours="light")
    page.get_by_text("Dark", exact=True).click()
    assert look(page) == dark
    page.keyboard.press("ArrowLeft")  # a group of radio buttons
    assert look(page) == light
    page = opened(colours="dark")
    page.get_by_text("Light", exact=True).click()
    assert look(page) == light
    page.get_by_text("Auto", exact=True).click()
    assert look(page) == dark


def test_examples_are_filtered_and_sorted(opened):
    page = opened()
    controls = page.locator(".controls").first
    page.locator(".more").first.click()
    everything = shown(page)
    assert len(everything) > 12 and {kind for _, kind, *_ in everything} == {"won", "lost"}
    assert list(dict.fromkeys(language for language, *_ in everything)) == ["ar", "de", "ja"]

    controls.locator("[data-control=language]").select_option("de")
    german = [item for item in everything if item[0] == "de"]
    assert shown(page) == german[:12]
    controls.locator("[data-control=kind]").select_option("lost")
    lost = [item for item in german if item[1] == "lost"]
    assert shown(page) == lost and 0 < len(lost) < len(german)
    assert page.locator("output").first.text_content() == f"{len(lost)} of {len(lost)} shown"

    controls.locator("[data-control=language]").select_option("")
    controls.locator("[data-control=kind]").select_option("")
    controls.locator("[data-control=order]").select_option("change")
    page.locator(".more").first.click()
    changes = [abs(change) for *_, change in shown(page)]
    assert changes == sorted(changes, reverse=True) and len(changes) == len(everything)
    controls.locator("[data-control=order]").select_option("id")
    page.locator(".more").first.click()
    numbers = [int(row_id.partition("<")[0]) for _, _, row_id, _ in shown(page)]
    assert numbers == sorted(numbers)

    controls.get_by_label("With the words").fill("RIGHT to left")
    found = shown(page)
    assert found and all(int(row_id.partition("<")[0]) % 8 == 6 for _, _, row_id, _ in found)
    controls.get_by_label("With the words").fill("nothing has this")
    assert shown(page) == [] and page.locator("output").first.text_content() == "0 of 0 shown"


def test_at_first_a_dozen_is_shown_and_the_rest_on_demand(opened):
    page = opened()
    assert len(shown(page)) == 12
    button = page.locator(".more").first
    assert button.text_content().startswith("Show all ")
    button.press("Enter")
    assert len(shown(page)) == int(button.text_content().removeprefix("Show all ")) and not button.is_visible()


def test_hostile_texts_are_texts(opened):
    page = opened()
    unfold(page)
    page.locator(".more").first.click()
    assert page.evaluate("document.scripts.length") == 1
    assert page.evaluate("document.querySelectorAll('img, iframe, a:not([href^=\"#\"])').length") == 0
    seen = 0
    for item in page.locator(".examples").first.locator("> li").all():
        row = int(item.get_attribute("data-id").partition("<")[0])
        language = item.get_attribute("data-language")
        assert item.locator("dd").first.evaluate("e => e.textContent") == text_of(f"T_tst.{language}", row)
        assert item.locator("thead bdi").all_text_contents() == list(LABELS)
        seen |= 1 << row % 8
    assert seen == 2**8 - 1, "a text of every kind was looked at"
    assert ROWS > 8


def test_without_javascript_all_can_be_read(opened):
    page = opened(javascript=False)
    items = page.locator(".examples").first.locator("> li")
    assert items.count() > 12 and all(item.is_visible() for item in items.all())
    assert not page.locator(".controls").first.is_visible() and not page.locator(".more").first.is_visible()
    assert page.locator("#curves svg[role=img]").first.is_visible()
    details = page.locator("details").first
    table = details.locator("table").first
    assert not table.is_visible()
    details.locator("summary").first.click()
    assert table.is_visible()
    page.get_by_text("Dark", exact=True).click()
    assert page.get_by_label("Dark").is_checked()


def test_the_keyboard_reaches_the_results_and_the_boxes_that_scroll(opened):
    page = opened(PHONE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#accuracy"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#accuracy"
    box = page.locator(".scroll").first
    box.focus()
    page.keyboard.press("ArrowRight")
    for _ in range(100):  # not wait_for_function: the page's policy lets no text become a function
        page.wait_for_timeout(50)
        if moved := box.evaluate("box => box.scrollLeft"):
            break
    assert moved > 0


@pytest.mark.parametrize(("viewport", "colours"), [(DESK, "light"), (PHONE, "dark")])
def test_axe_finds_nothing(opened, viewport, colours):
    """axe-core's rules, with everything unfolded: names, roles, headings, landmarks, contrast, focus."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(viewport, colours)
    unfold(page)
    found = axe.run(page).response
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in found["violations"]] == []
    assert len(found["passes"]) > 20


def test_printed_it_is_light(opened):
    page = opened(colours="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == page.evaluate("'rgb(247, 247, 249)'")
    assert not page.locator("nav").is_visible()


# --- what is out to run something ------------------------------------------------------------------------------------

#: Counts what runs. Policies of the page do not hold for it.
COUNTS = "window.ran = []; window.hacked = (...given) => { window.ran.push(given) }"
#: The elements of the page, and their attributes.
MARKUP = """() => Array.from(new Set(Array.from(document.querySelectorAll('*'))
    .map((e) => e.localName + ' ' + e.getAttributeNames().sort().join(' ')))).sort()"""
#: Everything that a reader can do to an element, done to each; and their answer to it waited for.
TOUCH = """async () => {
    const kinds = ['mouseover', 'mouseenter', 'pointerdown', 'focus', 'focusin', 'input', 'change', 'keydown'];
    for (const e of document.querySelectorAll('*')) {
        for (const kind of kinds) e.dispatchEvent(new Event(kind, {bubbles: true}));
        if (e.focus) e.focus();
        if (!e.matches('label, input, a[href^="#"]') && e.click) e.click();
    }
    for (const select of document.querySelectorAll('select'))
        for (const option of Array.from(select.options)) {
            select.value = option.value;
            select.dispatchEvent(new Event('input', {bubbles: true}));
            select.dispatchEvent(new Event('change', {bubbles: true}));
        }
    for (const details of document.querySelectorAll('details')) details.open = true;
    await new Promise((done) => setTimeout(done, 100));
}"""


def page_of(folder, corpora, predictions):
    output = folder / "report.html"
    command = ["page", "--predictions", *map(str, predictions), "--corpora", *map(str, corpora), "--examples", "200"]
    assert main([*command, "--output", str(output)]) == 0
    return output.as_uri()


@pytest.fixture(scope="module")
def harmless(browser, tmp_path_factory):
    """Elements and attributes of pages whose texts mean no harm, of one setting and of two."""
    root, found = tmp_path_factory.mktemp("harmless"), set()
    for settings in (1, 2):
        folder = root / str(settings)
        corpora, predictions, _ = write_hostile(
            folder, 0, settings, payloads=[f"{letter} NNN" for letter in "abcdefgh"]
        )
        page = browser.new_page()
        page.goto(page_of(folder, corpora, predictions))
        found |= {*page.evaluate(MARKUP)}
        page.close()
    return found


@pytest.mark.parametrize("policy", [True, False], ids=["by its policy", "without its policy"])
@pytest.mark.parametrize(
    ("number", "settings"),
    [
        (0, 1),
        (1, 2),
        *(pytest.param(*each, marks=pytest.mark.long) for each in [(2, 1), (3, 1), (4, 1), (5, 1), (0, 2)]),
    ],
)
def test_hostile_runs_run_nothing_and_are_shown_as_they_are(
    browser, harmless, tmp_path, number, settings, policy, promise
):
    """Without the page's policy, so that it is the escaping that is looked at, and with it."""
    corpora, predictions, payloads = write_hostile(tmp_path, number, settings)
    address = page_of(tmp_path, corpora, predictions)
    context = browser.new_context(bypass_csp=not policy)
    context.add_init_script(COUNTS)
    page, requests, said = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    assert page.evaluate("typeof hacked") == "function"
    assert {*page.evaluate(MARKUP)} - harmless == set(), "no element and no attribute that harmless texts do not bring"
    page.evaluate(TOUCH)
    assert page.evaluate("window.ran") == [] and said == []
    assert {*requests} - {"data:,"} == {address} and page.url.partition("#")[0] == address and len(context.pages) == 1

    texts = page.evaluate("document.body.textContent")
    seen = shown_as_they_are(page, payloads)
    for text, what in payloads.items():
        if what in ("dataset", "run", "translator", "checkpoint", "encoder", "normalisation", "version"):
            assert text in texts, what
            seen.add(text)
        elif what.endswith("provenance") and json.dumps(text, ensure_ascii=False)[1:-1] in texts:
            seen.add(text)
    kinds = {payloads[text] for text in seen}
    assert kinds == {*payloads.values()} - {"setting"}, "texts of every kind were looked at"
    context.close()
    promise(
        "hostile pages",
        f"a text that would run code on the report page, {'with' if policy else 'without'} its policy",
        len(seen),
    )


def shown_as_they_are(page, payloads):
    """Looks at every example; returns the texts that were found."""
    of = {what: [text for text, kind in payloads.items() if kind == what] for what in {*payloads.values()}}
    items = page.evaluate(
        """() => Array.from(document.querySelectorAll('.examples > li'), (item) => ({
            id: item.dataset.id, language: item.dataset.language,
            head: item.querySelector('header').textContent,
            labels: Array.from(item.querySelectorAll('thead bdi'), (e) => e.textContent),
            texts: Array.from(item.querySelectorAll('dd'), (e) => e.textContent)}))"""
    )
    assert len(items) >= 10
    seen = set()
    for item in items:
        assert item["id"] in of["id"] and item["language"] in of["language"] and item["labels"] == of["label"]
        assert f"id {item['id']}" in item["head"] and item["language"].upper() in item["head"]
        assert len(item["texts"]) == 4 and {payloads[text] for text in item["texts"]} == {"text", "second text"}
        seen |= {item["id"], item["language"], *item["labels"], *item["texts"]}
    return seen
