# SPDX-License-Identifier: Apache-2.0
"""The page at / in headless Chromium. Screenshots are kept in build/test-results/page/, to be looked at."""

import contextlib
import json
import os

import pytest

import browser as chromium
from hadal_process import fill

pytestmark = pytest.mark.skipif(chromium.BINARY is None, reason=chromium.MISSING)

PICTURES = os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/test-results/page")
DESK = (1280, 800)
PHONE = (390, 844)
SLOW = ("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")
# This model thinks for some 220 tokens. A machine that takes seconds for a picture is to see it think.
THINKING_SLOWLY = ("--load-format=null:200ms", *SLOW[1:])


@pytest.fixture(scope="module")
def browser():
    os.makedirs(PICTURES, exist_ok=True)
    with chromium.Browser() as started:
        yield started


@pytest.fixture
def page(browser):
    """open(server): the page of a server, in light colours on a desk; at the end it must have raised no error."""
    browser.events.clear()
    browser.size(*DESK)
    browser.scheme("light")
    expected = []

    def open_page(server, *errors):
        expected.extend(errors)
        browser.open(server.url + "/")
        return browser

    yield open_page
    found = [problem for problem in browser.problems() if not any(error in problem for error in expected)]
    browser.call("Page.navigate", url="about:blank")  # what is under way ends
    assert not found


def connected(browser):
    browser.wait("document.querySelector('#model').options.length > 0")
    browser.wait("document.querySelector('#state').textContent.startsWith('ready')")


def ask(browser, text):
    """Types a question and sends it, with the keyboard alone."""
    browser.js("document.querySelector('#question').focus()")
    browser.type(text)
    browser.key("Enter", 13, "\r")


def keep(browser, name, size=DESK, scheme="light"):
    browser.size(*size, phone=size == PHONE)
    browser.scheme(scheme)
    browser.screenshot(os.path.join(PICTURES, name + ".png"))


def test_answers_with_the_thinking_apart(server, page):
    browser = page(server)
    connected(browser)
    assert browser.js("document.activeElement.id") == "question"
    ask(browser, "17 + 25")
    browser.wait("!document.querySelector('#retry').disabled")
    assert browser.text(".question") == "17 + 25"
    assert browser.text(".answer").strip() == "17 + 25 = 42"
    assert "7+5=12 c1 2" in browser.text(".reasoning") and "7+5" not in browser.text(".answer")
    assert browser.text(".thinking summary").startswith("Thought for ")
    facts = browser.text(".facts")
    assert "11 prompt tokens" in facts and "76 output tokens (64 thinking)" in facts
    assert "first after" in facts and "tokens/s" in facts
    for size, suffix in ((DESK, ""), (PHONE, "-phone")):
        for scheme in ("light", "dark"):
            keep(browser, f"answer-{scheme}{suffix}", size, scheme)


def test_retry_asks_the_last_question_again(server, page):
    browser = page(server)
    connected(browser)
    before = server.metric("hadal_requests_total")
    ask(browser, "12 * 7")
    browser.wait("!document.querySelector('#retry').disabled")
    browser.js("document.querySelector('#retry').click()")
    browser.wait("document.querySelector('#retry').disabled === false && document.querySelector('.facts').textContent.includes('prompt')")
    assert browser.js("document.querySelectorAll('.question').length") == 1
    assert browser.js("document.querySelectorAll('.turn').length") == 1
    assert "84" in browser.text(".answer")
    server.wait_idle()
    assert server.metric("hadal_requests_total") - before == 2
    browser.js("document.querySelector('#clear').click()")
    assert browser.text(".question, .turn") == ""


def test_settings_reach_the_server(server, page):
    browser = page(server, "422", "Unprocessable")
    connected(browser)
    browser.js("""document.querySelector('#settings').open = true;
        for (const [id, value] of Object.entries({max_tokens: 3, temperature: 0, thinking: 'enabled', system: 'x'}))
          document.getElementById(id).value = value; 0""")
    keep(browser, "settings", DESK)
    keep(browser, "settings-phone", PHONE)
    ask(browser, "17 + 25")
    browser.wait("document.querySelector('.facts').textContent.includes('3 output tokens')")
    # What the fields themselves refuse is not sent; what only the server knows comes back as its message.
    browser.js("document.querySelector('#settings').open = false; document.querySelector('#temperature').value = 3; 0")
    ask(browser, "17 + 25")
    assert browser.js("document.querySelector('#settings').open")
    assert browser.js("document.querySelectorAll('.question').length") == 1
    browser.js("document.querySelector('#temperature').value = 0; document.querySelector('#seed').value = 1e300; 0")
    browser.key("Enter", 13, "\r")
    browser.wait("document.querySelector('.notice strong')?.textContent.includes('OUT_OF_RANGE')")
    assert "seed" in browser.text(".turn .notice")


def test_markup_stays_text(server, page):
    browser = page(server)
    connected(browser)
    markup = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    ask(browser, markup)
    browser.wait("!document.querySelector('#retry').disabled")
    assert browser.text(".question") == markup
    assert browser.js("document.querySelectorAll('#log img, #log script').length") == 0
    assert browser.js("document.title") == "hadal"


# Whether a character of the page looks like none of Unicode's that no font has: the box of a missing glyph.
DRAWN = """(() => {
  const canvas = document.createElement("canvas"), brush = canvas.getContext("2d", {willReadFrequently: true});
  const pixels = (text) => {
    canvas.width = canvas.height = 40;
    brush.font = getComputedStyle(document.body).font;
    brush.fillText(text, 5, 30);
    return brush.getImageData(0, 0, 40, 40).data.join();
  };
  const missing = pixels("\\u{10FFFE}");
  return [...%s].map((character) => pixels(character) !== missing);
})()"""


def test_chinese_is_seen(server, page):
    """The pictures are to show it, and what a caller reads is in it: its font is one of the packages of the tests."""
    browser = page(server)
    connected(browser)
    assert browser.js(DRAWN % '"\\u{10FFFD}"') == [False], "this tells a missing glyph"
    text = "服务器繁忙，请稍后再试。17 + 25"
    assert all(browser.js(DRAWN % json.dumps(text.partition("1")[0])))
    ask(browser, text)
    browser.wait("!document.querySelector('#retry').disabled")
    assert browser.text(".question") == text
    keep(browser, "chinese")
    keep(browser, "chinese-phone", PHONE, "dark")


TEXT_LENGTH = "document.querySelector('.reasoning').textContent.length"


def test_streams_and_stops(start_server, page):
    server = start_server(*THINKING_SLOWLY)
    browser = page(server)
    connected(browser)
    for stop in ("document.querySelector('#stop').click()", None):
        ask(browser, "count")
        browser.wait("document.querySelector('.facts')?.textContent.includes('output tokens')")
        for _ in range(3):  # the text grows while the request runs
            browser.wait(f"{TEXT_LENGTH} > {browser.js(TEXT_LENGTH)}")
        assert server.metric("hadal_requests_running") == 1
        browser.js(stop) if stop else browser.key("Escape", 27)
        browser.wait("document.querySelector('.facts').textContent.startsWith('Stopped')")
        server.wait_idle()
        assert browser.js("document.querySelector('#stop').disabled && !document.querySelector('#send').disabled")
        browser.js("document.querySelector('#clear').click()")  # this model's text, and so its end, depends on the whole conversation
    assert server.metric("hadal_cancellations_total") == 2


def test_thinking_is_ended_and_the_answer_comes(start_server, page):
    server = start_server(*THINKING_SLOWLY)
    browser = page(server)
    connected(browser)
    browser.js("document.querySelector('#max_tokens').value = 1500; 0")
    assert browser.js("document.querySelector('#end-thinking').disabled"), "nothing thinks"
    ask(browser, "count")
    browser.wait("!document.querySelector('#end-thinking').disabled")
    browser.wait(f"{TEXT_LENGTH} > 0")
    assert browser.text(".answer") == ""
    for size, suffix in ((DESK, ""), (PHONE, "-phone")):
        for scheme in ("light", "dark"):
            keep(browser, f"thinking-{scheme}{suffix}", size, scheme)
    browser.js("document.querySelector('#end-thinking').click()")
    assert browser.js("document.querySelector('#end-thinking').disabled"), "once is enough"
    browser.wait("document.querySelector('.answer').textContent.length > 0")
    assert browser.text(".thinking summary").startswith("Thought for ")
    assert browser.js("document.querySelector('#end-thinking').disabled && !document.querySelector('#stop').disabled")
    browser.key("Escape", 27)
    browser.wait("document.querySelector('.facts').textContent.startsWith('Stopped')")
    server.wait_idle()
    assert server.metric("hadal_thinking_cuts_total") == 1, "it has not ended by itself"


def test_thinking_that_has_ended_by_itself_is_no_error(start_server, page):
    server = start_server(*THINKING_SLOWLY)
    browser = page(server, "404")
    connected(browser)
    ask(browser, "count")
    browser.wait("!document.querySelector('#end-thinking').disabled")
    # Between the last piece and the click the request may end: the server then knows it no more.
    browser.js("const real = window.fetch; window.fetch = (path, ...rest) => real(path.replace(/chatcmpl-.*control/, 'gone/control'), ...rest); 0")
    browser.js("document.querySelector('#end-thinking').click()")
    browser.wait("performance.getEntriesByType('resource').some((entry) => entry.name.endsWith('/gone/control') && entry.responseStatus === 404)")
    browser.wait(f"{TEXT_LENGTH} > {browser.js(TEXT_LENGTH)}")
    assert browser.js("document.querySelectorAll('.notice:not([hidden])').length") == 0
    browser.key("Escape", 27)
    browser.wait("document.querySelector('.facts').textContent.startsWith('Stopped')")


@pytest.fixture
def refusing(start_server, page):
    """(server, browser, holders): a full server and its page; it has room once the holders are closed."""
    server = start_server(*SLOW)
    browser = page(server, "503")
    connected(browser)
    with contextlib.ExitStack() as holders:
        for holder in fill(server):
            holders.callback(holder.close)
        yield server, browser, holders


COUNTS_DOWN = """document.querySelector('.countdown')?.textContent.startsWith('Asks again in ')
    && !document.querySelector('#stop').disabled && !document.querySelector('#retry').disabled"""


def test_a_refusal_is_explained(refusing):
    _, browser, _ = refusing
    ask(browser, "17 + 25")
    browser.wait(COUNTS_DOWN)
    notice = browser.text(".turn .notice")
    assert "503 CONNECTION_QUEUE_FULL" in notice and "As many requests wait as the server lets wait." in notice
    browser.wait("document.querySelector('#refusals').textContent.includes('CONNECTION_QUEUE_FULL')")
    browser.wait("document.querySelector('#state').textContent === 'ready · 1 running · 1 waiting'")
    for size, suffix in ((DESK, ""), (PHONE, "-phone")):
        for scheme in ("light", "dark"):
            keep(browser, f"refusal-{scheme}{suffix}", size, scheme)


def test_a_refusal_is_waited_out(refusing):
    _, browser, holders = refusing
    ask(browser, "17 + 25")
    browser.wait(COUNTS_DOWN)
    holders.close()
    # When its time has come it is asked again, and served, with nobody doing anything.
    browser.wait("document.querySelector('.facts').textContent.includes('output tokens')")
    assert browser.js("document.querySelector('.turn .notice') === null")
    keep(browser, "streaming-dark", DESK, "dark")
    browser.key("Escape", 27)
    browser.wait("document.querySelector('.facts').textContent.startsWith('Stopped')")


def test_a_refusal_can_be_left_or_hurried(refusing):
    server, browser, holders = refusing
    browser.js("document.querySelector('#auto-retry').checked = false; 0")
    ask(browser, "17 + 25")
    browser.wait("document.querySelector('.countdown')?.textContent.startsWith('Worth another try in')")
    browser.key("Escape", 27)
    browser.wait("document.querySelector('.countdown').textContent === 'Stopped.'")
    holders.close()
    server.wait_idle()
    browser.js("document.querySelector('#retry').click()")
    browser.wait("document.querySelector('.facts').textContent.includes('output tokens')")
    browser.key("Escape", 27)


def test_asks_for_the_key_and_forgets_it_with_the_tab(start_server, page, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("sk-page acme\n")
    server = start_server(f"--api-key-file={keys}")
    browser = page(server, "401")
    browser.wait("!document.querySelector('#key-form').hidden")
    keep(browser, "key-phone", PHONE)
    browser.type("sk-wrong")
    browser.key("Enter", 13, "\r")
    browser.wait("!document.querySelector('#key-error').hidden")
    browser.type("sk-page")
    browser.key("Enter", 13, "\r")
    browser.wait("document.querySelector('#key-form').hidden")
    ask(browser, "17 + 25")
    browser.wait("document.querySelector('.answer')?.textContent.includes('42')")
    assert browser.js("Object.keys(localStorage).length") == 0 and browser.js("document.cookie") == ""
    assert browser.js("sessionStorage.length") == 1


NO_MODELS_AT_FIRST = """
const real = window.fetch;
window.asked = 0;
window.fetch = (path, ...rest) =>
  path === "v1/models" && ++asked === 1 ? Promise.resolve(new Response('{"data": []}')) : real(path, ...rest);
"""


def test_waits_for_models_that_are_being_loaded(server, page, browser):
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=NO_MODELS_AT_FIRST)
    connected(page(server))
    assert browser.js("asked") == 2
    browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)


def test_plots_follow_the_server(server, page):
    browser = page(server)
    connected(browser)
    titles = browser.js("[...document.querySelectorAll('.plot .title')].map((node) => node.textContent)")
    assert titles == ["Queue", "Batch", "KV cache", "Tokens/s", "First token", "Between tokens", "Refusals/s"]
    ask(browser, "1234 - 5678")
    browser.wait("/p50 .*ms.*p99 .*ms/.test(document.querySelectorAll('.plot')[4].textContent)")
    browser.wait("document.querySelectorAll('.plot')[3].querySelector('path').getAttribute('d').includes('L')")
    assert browser.js("document.querySelector('.plot svg').getAttribute('aria-label')").startswith("Queue, last three minutes, now ")
    assert "hadal-demo (deepseek_v3" in browser.text("#build")


def test_says_when_the_server_has_gone(start_server, page):
    server = start_server()
    browser = page(server, "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
    connected(browser)
    server.stop()
    browser.wait("!document.querySelector('#stale').hidden && document.querySelector('#state').textContent === 'no answer'")


def test_a_phone_needs_no_sideways_scrolling(server, page):
    browser = page(server)
    connected(browser)
    browser.size(*PHONE, phone=True)
    ask(browser, "x" * 300)
    browser.wait("!document.querySelector('#retry').disabled")
    browser.js("document.querySelector('#settings').open = true; 0")
    assert browser.js("document.documentElement.scrollWidth") <= PHONE[0]
    tops = "[...document.querySelectorAll('#send, #stop, #end-thinking, #retry, #clear')].map((button) => button.offsetTop)"
    assert len(set(browser.js(tops))) == 1, "the buttons are in a row"
    small = browser.js("[...document.querySelectorAll('button')].filter((b) => b.offsetParent && b.offsetHeight < 40).map((b) => b.id)")
    assert small == []
    browser.js("document.querySelector('#load').scrollIntoView(); document.querySelector('#settings').open = false; 0")
    keep(browser, "load-phone", PHONE)


def test_the_keyboard_reaches_everything(server, page):
    browser = page(server)
    connected(browser)
    browser.js("document.querySelector('#settings').open = true; document.querySelector('.skip').focus(); 0")
    reached = set()
    for _ in range(40):
        browser.key("Tab", 9)
        reached.add(browser.js("document.activeElement.id || document.activeElement.tagName"))
    wanted = browser.js("[...document.querySelectorAll('button:enabled, input, select, textarea')]"
                        ".filter((node) => node.offsetParent).map((node) => node.id)")
    assert len(wanted) > 10 and set(wanted) <= reached
    assert "log" in reached and "SUMMARY" in reached


SCRAPE = """
hadal_step_seconds_bucket{class="a",le="1"} %d
hadal_step_seconds_bucket{class="a",le="2"} %d
hadal_step_seconds_bucket{class="a",le="+Inf"} %d
hadal_x_total{reason="A \\"b\\"}",class="c"} %d
"""


def test_rates_and_percentiles(server, page):
    browser = page(server)

    def compute(expression, before=(0, 0, 0, 0), now=(0, 0, 0, 0)):
        return browser.js("import('/page/metrics.js').then(({Scrape, rate, quantile}) => {"
                          f"const before = new Scrape({json.dumps(SCRAPE % before)}, 0);"
                          f"const now = new Scrape({json.dumps(SCRAPE % now)}, 2000); return {expression}; }})")

    assert compute("rate(before, now, 'hadal_x_total')", (0, 0, 0, 5), (0, 0, 0, 9)) == 2
    assert compute("rate(before, now, 'hadal_x_total')", (0, 0, 0, 5), (0, 0, 0, 1)) == 0
    assert compute("now.by('hadal_x_total', 'reason')", now=(0, 0, 0, 9)) == [['A \\"b\\"}', 9]]
    p50 = "quantile(before, now, 'hadal_step_seconds', 0.5)"
    assert compute(p50) is None
    assert compute(p50, (5, 5, 5, 0), (5, 5, 5, 0)) is None
    assert compute(p50, (5, 5, 5, 0), (9, 9, 9, 0)) == 0.5
    assert compute(p50, (5, 5, 5, 0), (6, 8, 8, 0)) == 1.25
    assert compute(p50, (0, 0, 0, 0), (1, 1, 9, 0)) == 2
