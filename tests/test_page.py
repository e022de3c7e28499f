"""The page of `ultragcn serve`, in a browser: what people do with it, in both languages, with a mouse, with keys and on a phone."""

import json
import re
import urllib.parse
from contextlib import contextmanager

import numpy as np
import pytest

from tests.browser import browsing, opened
from tests.servers import serving
from ultragcn import ItemKNN, UltraGCN, __version__, load_dataset

pytest.importorskip("uvicorn", reason="needs what ultragcn serve needs: pip install -r requirements-dev.txt")

KEY = "a-key-of-more-than-16-signs"
RIVER, GARDEN = "Quiet River (jazz)", "Amber Garden (jazz)"
SCHEMES, LOCALES = ("light", "dark"), ("en-US", "ko-KR")
PICKED = "#item=Quiet+River+%28jazz%29&item=Amber+Garden+%28jazz%29"


@pytest.fixture(scope="module")
def model():
    return UltraGCN(embedding_dim=16, epochs=8, seed=0).fit(load_dataset("demo"))


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    with serving(model.save(tmp_path_factory.mktemp("page") / "run"), "--most_wait", 1000) as started:
        yield started


@pytest.fixture(scope="module")
def browser():
    with browsing() as started:
        yield started


@pytest.fixture
def visited(browser):
    """What opens the page and checks at the end that nothing complained and that all was asked of the server itself.

    `expected` is the status of an answer on which the browser itself remarks.
    """

    @contextmanager
    def visit(server, address="", expected="", **options):
        with opened(f"{server.url}{address}", browser, **options) as (tab, complaints, requests):
            tab.set_default_timeout(10_000)
            if expected != "401":
                shows(tab)
            yield tab
            remark = f"Failed to load resource: the server responded with a status of {expected} "
            assert [one for one in complaints if not (expected and one.startswith(remark))] == []
            assert {request.split("/")[2] for request in requests} == {server.url.split("/")[2]}

    return visit


def shows(tab, heading=None, count=12):
    """Wait until the page shows a list with this heading and so many items; return their titles."""
    script = """([heading, count]) => {
        const list = document.querySelector("#list");
        return list.getAttribute("aria-busy") === "false" && list.children.length === count
            && (heading === null || document.querySelector("#results-heading").textContent === heading);
    }"""
    tab.wait_for_function(script, arg=[heading, count])
    return tab.locator("#list .title").all_text_contents()


def lists(tab, wanted):
    """Wait until the page lists these items in this order."""
    script = """wanted => {
        const titles = [...document.querySelectorAll("#list .title")].map(title => title.textContent);
        return JSON.stringify(titles) === JSON.stringify(wanted);
    }"""
    tab.wait_for_function(script, arg=[str(item) for item in wanted])


def says(tab, words):
    """Wait until the status, which screen readers read out, holds these words."""
    tab.wait_for_function("words => document.querySelector('#status').textContent.includes(words)", arg=words)


def chips(tab):
    return tab.locator("#has .chip").all_text_contents()


def search(tab, words, name="Find something you like"):
    """Type into the search; return the options once they are there."""
    tab.get_by_role("combobox", name=name).press_sequentially(words)
    marks = "words => [...document.querySelectorAll('[role=option] mark')].some(mark => mark.textContent.toLowerCase() === words)"
    tab.wait_for_function(marks, arg=words.strip().lower())
    return tab.get_by_role("option")


def look_up(tab, user):
    if not tab.locator("#user-area").evaluate("area => area.open"):
        tab.get_by_text("Look up a user").click()
    tab.get_by_label("User id").fill(user)
    tab.get_by_role("button", name="Show", exact=True).click()


# ------------------------------------------------------------------ journeys


def test_a_newcomer_picks_two_items_takes_a_reason_away_and_comes_back_to_the_same_list(visited, server, model):
    with visited(server) as tab:
        popular = shows(tab, "Popular items")
        assert popular == list(model.recommend_for([[]], 12, unknown="popular")[0][0])
        assert re.fullmatch(r"\d+ users have it", tab.locator(".why").first.inner_text())

        search(tab, "quiet river (j").first.click()
        search(tab, "amber garden (j")
        tab.keyboard.press("Enter")
        assert chips(tab) == [RIVER, GARDEN]
        both = list(model.recommend_for([RIVER, GARDEN], 12)[0])
        lists(tab, both)
        says(tab, "12 recommendations")
        assert tab.locator(".why").first.inner_text().startswith("Because you chose")
        reasons = tab.locator("#list .reason").all_text_contents()
        assert {RIVER, GARDEN} == set(reasons)

        tab.locator(".row").first.get_by_role("button", name=f"Remove {RIVER}").click()
        one = list(model.recommend_for([GARDEN], 12)[0])
        lists(tab, one)
        assert one != both
        assert chips(tab) == [GARDEN]
        says(tab, f"{RIVER} removed. 12 recommendations")

        tab.reload()
        lists(tab, one)
        assert chips(tab) == [GARDEN]
        shared = tab.url
        tab.go_back()
        lists(tab, both)
        assert chips(tab) == [RIVER, GARDEN]
        tab.get_by_role("button", name="Start over").click()
        lists(tab, popular)
        assert chips(tab) == []
    with visited(server, shared.removeprefix(server.url)) as tab:
        lists(tab, one)


def test_somebody_looks_up_a_user_finds_more_like_an_item_and_makes_the_list_more_varied(visited, server, model):
    with visited(server) as tab:
        shows(tab, "Popular items")
        look_up(tab, "user-0001")
        own = list(model.recommend("user-0001", 12)[0])
        lists(tab, own)
        assert tab.locator("#results-heading").inner_text() == "Recommended for user-0001"
        seen = model.seen_[model.user_ids.rows(["user-0001"])[0]].indices
        has = set(model.item_ids.ids[seen])
        assert tab.locator("#has-heading").inner_text() == f"user-0001 has {len(has)} items"
        tab.get_by_role("button", name=f"Show all {len(has)}").click()
        assert set(chips(tab)) == has

        tab.get_by_role("button", name=f"More like this: {own[0]}").click()
        tab.locator(".similar").wait_for()
        like = list(model.similar_items(own[0], 8)[0])
        assert [title.split(",")[0] for title in tab.locator(".similar .chip").all_text_contents()] == like
        new = next(item for item in like if item not in has)
        tab.locator(".similar").get_by_role("button", name=f"Add {new}").click()
        with_new = [*has, new]
        lists(tab, model.recommend_for(with_new, 12)[0])
        assert chips(tab)[0] == new

        tab.get_by_label("Variety").fill("0.5")
        varied = list(model.recommend_for(with_new, 12, diversity=0.5)[0])
        lists(tab, varied)
        assert tab.locator("output").inner_text() == "50%"
        assert varied != list(model.recommend_for(with_new, 12)[0])

        gone = chips(tab)[3]
        tab.locator("#has").get_by_role("button", name=f"Remove {gone}").click()
        rest = [item for item in with_new if item != gone]
        lists(tab, model.recommend_for(rest, 12, diversity=0.5)[0])
        tab.reload()
        lists(tab, model.recommend_for(rest, 12, diversity=0.5)[0])
        assert gone not in chips(tab)


def test_keys_alone_are_enough_in_korean(visited, server, model):
    with visited(server, locale="ko-KR") as tab:
        shows(tab, "인기 있는 것")
        assert tab.locator("html").get_attribute("lang") == "ko"

        for _ in range(4):  # past the link to the list and the languages
            tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") == "search"
        tab.keyboard.type("quiet river (j")
        says(tab, "1개를 찾았습니다")
        tab.keyboard.press("Enter")
        lists(tab, model.recommend_for([RIVER], 12)[0])
        assert tab.evaluate("document.activeElement.id") == "search"  # for the next one
        tab.keyboard.type("garden")
        says(tab, "8개를 찾았습니다")
        tab.keyboard.press("ArrowDown")
        chosen = tab.locator("[role=option][aria-selected=true] .title").inner_text()
        assert tab.get_attribute("#search", "aria-activedescendant") == "found-1"
        tab.keyboard.press("Enter")
        lists(tab, model.recommend_for([RIVER, chosen], 12)[0])
        says(tab, f"담았습니다: {chosen}. 추천 12개")

        tab_to(tab, lambda: tab.evaluate("document.activeElement.ariaLabel") == f"{RIVER} 빼기")
        tab.keyboard.press("Enter")
        lists(tab, model.recommend_for([chosen], 12)[0])
        assert tab.evaluate("document.activeElement.ariaLabel") == f"{chosen} 빼기"  # what came into its place
        first = shows(tab)[0]
        tab_to(tab, lambda: tab.evaluate("document.activeElement.dataset.does") == "like" and focused_row(tab) == first)
        tab.keyboard.press("Enter")
        tab.locator(".similar").wait_for()
        assert focused_row(tab) == first
        assert tab.evaluate("document.activeElement.ariaExpanded") == "true"

        tab.keyboard.press("Shift+Tab")  # the button that adds it
        tab.keyboard.press("Enter")
        lists(tab, model.recommend_for([chosen, first], 12)[0])
        assert tab.evaluate("document.activeElement.dataset.does") == "add"  # of the item that came into its place
        assert focused_row(tab) == shows(tab)[0]


def tab_to(tab, is_there):
    """Press Tab until the focus is where it is wanted; check on the way that the focus can be seen."""
    for _ in range(60):
        tab.keyboard.press("Tab")
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if is_there():
            return
    raise AssertionError("Tab does not come there")


def focused_row(tab):
    return tab.evaluate("document.activeElement.closest('.row')?.dataset.item")


# ------------------------------------------------------------ for everybody


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("locale", LOCALES)
def test_axe_finds_nothing_that_keeps_people_out(visited, server, scheme, locale):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs pip install -r requirements-dev.txt").Axe()

    def check(state):
        tab.wait_for_timeout(300)  # what fades in has its colours
        found = axe.run(tab).response["violations"]
        assert found == [], (state, [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found])

    with visited(server, expected="404", color_scheme=scheme, locale=locale) as tab:
        check("popular")
        tab.locator("#search").press_sequentially("river")
        tab.locator("[role=option]").first.wait_for()
        check("search")
        tab.keyboard.press("Enter")
        tab.locator("#list .reason").first.wait_for()
        tab.locator("[data-does=like]").first.click()
        tab.locator(".similar").wait_for()
        check("picked, with similar items")
        tab.locator("#user-area summary").click()
        tab.locator("#user").fill("nobody")
        tab.keyboard.press("Enter")
        tab.locator("#notice").wait_for()
        check("a notice")


def test_headings_do_not_skip_a_level_and_everything_to_press_has_a_name(visited, server):
    with visited(server, "/" + PICKED) as tab:
        levels = tab.evaluate("Array.from(document.querySelectorAll('h1,h2,h3,h4'), head => Number(head.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(name.strip() for name in tab.locator("button, a, summary").all_text_contents())


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_the_page_is_never_wider_than_the_screen(visited, server, width):
    with visited(server, "/" + PICKED, viewport={"width": width, "height": 780}) as tab:
        tab.locator("[data-does=like]").first.click()
        tab.locator(".similar").wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        small = tab.evaluate("""[...document.querySelectorAll("button, summary, input")].filter(one => one.offsetParent !== null
            && one.getBoundingClientRect().height < 24).map(one => one.outerHTML)""")
        assert small == []  # for a finger


def test_who_wants_less_motion_gets_none(visited, server):
    name = "getComputedStyle(document.querySelector('.row.new')).animationName"
    for motion, wanted in (("reduce", "none"), ("no-preference", "appear")):
        with visited(server, reduced_motion=motion) as tab:
            tab.locator("[data-does=add]").first.click()
            tab.locator(".row.new").first.wait_for()
            assert tab.evaluate(name) == wanted


def test_the_language_is_that_of_the_browser_until_somebody_switches_and_the_address_keeps_it(visited, server):
    with visited(server, locale="fr-FR") as tab:
        shows(tab, "Popular items")
        tab.get_by_role("button", name="한국어").click()
        shows(tab, "인기 있는 것")
        assert tab.locator("html").get_attribute("lang") == "ko"
        assert tab.get_by_role("button", name="한국어").get_attribute("aria-pressed") == "true"
        tab.reload()
        shows(tab, "인기 있는 것")
        tab.get_by_role("button", name="English").click()
        shows(tab, "Popular items")


def test_both_languages_have_every_text(visited, server):
    with visited(server) as tab:
        names = {}
        source = tab.evaluate("fetch('page.js').then(answer => answer.text())")
        for language in ("en", "ko"):
            part = source.split(f"\n  {language}: {{\n")[1].split("\n  },\n")[0]
            names[language] = re.findall(r"^    (\w+): ", part, re.MULTILINE)
        assert len(names["en"]) > 40
        assert names["en"] == names["ko"]
        used = set(re.findall(r"text\.(\w+)", source)) | set(tab.evaluate(
            "[...document.querySelectorAll('[data-text],[data-label],[data-placeholder]')].flatMap(one => Object.values(one.dataset))"
        ))  # fmt: skip
        assert set(names["en"]) <= used


def test_enter_that_ends_a_korean_syllable_picks_nothing(visited, server):
    with visited(server) as tab:
        search(tab, "river")
        press = "composing => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: composing}))"
        tab.evaluate(press, True)
        assert chips(tab) == []
        tab.evaluate(press, False)
        assert len(chips(tab)) == 1


# --------------------------------------------------------------- what data may hold

HOSTILE = [
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    "\"quotes\" 'and' `ticks` & &amp; \\ %00 ${7*7} {{7*7}}",
    "كتاب عن البحر (الجزء ٢)",
    "\u202eevil\u202c txt.exe",
    "W" * 300,
    "a title of many words " * 14,
    "javascript:alert(1)",
    "ﬀ İstanbul ß Σς",
    "",
    "#item=x&user=y",
    "../../etc/passwd?x=1#y",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A server of a model whose ids are numbers that JavaScript has no exact ones for, and whose titles are made to break a page."""
    import polars as pl

    random = np.random.default_rng(0)
    pairs = sorted({(int(user), int(item)) for user, item in zip(random.integers(0, 60, 900), random.integers(0, 24, 900), strict=True)})
    first = 2**53 + 1
    frame = pl.DataFrame({"user_id": [f"u/{user}?" for user, _ in pairs], "item_id": [first + item for _, item in pairs]})
    made = UltraGCN(embedding_dim=8, epochs=2, seed=0).fit(frame)
    places = np.argsort(-made.train_.item_degrees, kind="stable")
    titles = np.array([f"plain {n}" for n in range(len(made.item_ids))], dtype=object)
    titles[places[: len(HOSTILE)]] = HOSTILE
    made.item_titles_ = titles.astype(str)
    with serving(made.save(tmp_path_factory.mktemp("hostile") / "run"), "--most_wait", 1000) as started:
        started.model = made
        yield started


@pytest.mark.parametrize("width", [320, 1280])
def test_titles_of_any_kind_are_text_and_fit_the_screen(visited, hostile, width):
    ids = [str(item) for item in hostile.model.recommend_for([[]], 12, unknown="popular")[0][0]]
    wanted = [title or item for title, item in zip(HOSTILE, ids, strict=True)]
    with visited(hostile, viewport={"width": width, "height": 800}) as tab:
        assert shows(tab, "Popular items") == wanted
        for place in (0, 1):
            tab.locator("#list [data-does=add]").first.click()
            tab.wait_for_function("count => document.querySelectorAll('#has .chip').length === count", arg=place + 1)
            shows(tab, "Recommended for you")
        assert chips(tab)[0] == wanted[0]
    picked = "#" + urllib.parse.urlencode([("item", item) for item in ids])
    with visited(hostile, f"/{picked}", viewport={"width": width, "height": 800}) as tab:
        tab.wait_for_function("() => document.querySelector('#has .chip').textContent.startsWith('<img')")  # titles of ids in the address
        assert chips(tab) == wanted
        rows = hostile.model.item_ids.rows(hostile.model.recommend_for([int(item) for item in ids], 12)[0])
        lists(tab, hostile.model.item_titles_[rows])
        tab.locator("[data-does=like]").first.click()
        tab.locator(".similar").wait_for()
        assert "owned" not in tab.title()
        assert tab.locator("main img, main script").count() == 0
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_typed_is_marked_and_is_text_too(visited, hostile):
    with visited(hostile) as tab:
        options = search(tab, "<img")
        assert options.first.locator("mark").inner_text() == "<img"
        tab.keyboard.press("Escape")
        assert tab.locator("#popup").is_hidden()
        tab.locator("#search").fill("<b>nowhere</b>")
        tab.get_by_text("No item has “<b>nowhere</b>” in its name.").first.wait_for()
        assert tab.get_attribute("#search", "aria-expanded") == "false"


def test_ids_are_kept_exactly_in_the_address_and_in_questions(visited, hostile):
    user = hostile.model.user_ids.ids[5]
    with visited(hostile) as tab:
        shows(tab, "Popular items")
        ids = tab.evaluate("[...document.querySelectorAll('.row')].map(row => row.dataset.item)")
        assert ids == [str(item) for item in hostile.model.recommend_for([[]], 12, unknown="popular")[0][0]]
        look_up(tab, str(user))
        tab.wait_for_function("user => document.querySelector('#results-heading').textContent === `Recommended for ${user}`", arg=user)
        own = hostile.model.recommend(user, 12)[0]
        ids = tab.evaluate("[...document.querySelectorAll('.row')].map(row => row.dataset.item)")
        assert ids == [str(item) for item, score in zip(own, hostile.model.recommend(user, 12)[1], strict=True) if np.isfinite(score)]


def test_what_the_items_table_knows_stands_below_the_title_and_an_example_user_is_one_of_the_model(visited, tmp_path):
    import polars as pl

    pairs = [(100 + user, f"sku-{(user * 3 + step * 7) % 20:02}") for user in range(30) for step in range(6)]
    made = UltraGCN(embedding_dim=4, epochs=2, seed=0).fit(pl.DataFrame(pairs, schema=["user", "item"], orient="row"))
    skus = made.item_ids.ids.tolist()
    table = {"sku": skus, "price": [n + 0.5 for n in range(20)], "brand": [f"<b>{n % 3}" for n in range(19)] + [None], "year": [1999] * 20}
    made.set_items_table(pl.DataFrame(table))
    with serving(made.save(tmp_path / "run"), "--most_wait", 1000) as started, visited(started) as tab:
        first = tab.evaluate("document.querySelector('.row').dataset.item")
        place = skus.index(first)
        assert tab.locator(".row").first.locator(".cells span").all_text_contents() == [
            f"{name}: {table[name][place]}" for name in ("price", "brand", "year") if table[name][place] is not None
        ]  # fmt: skip
        tab.get_by_text("Look up a user").click()
        tab.get_by_role("button", name="Try 100").click()
        lists(tab, made.recommend(100, 12)[0])
        assert tab.locator("#results-heading").inner_text() == "Recommended for 100"
        assert tab.locator(".cells").count() == 12


def test_while_the_server_gets_ready_the_page_says_so_and_asks_again(visited, server):
    refused = []

    def refuse_twice(route):
        if len(refused) == 2:
            route.continue_()
            return
        refused.append(1)
        route.fulfill(status=503, headers={"Retry-After": "2"}, body='{"error":"kernels"}', content_type="application/json")

    with visited(server, expected="503") as tab:
        tab.route("**/recommend", refuse_twice)
        tab.locator("[data-does=add]").first.click()
        tab.get_by_text("The server is getting ready. This page tries again in 2 s.").wait_for()
        shows(tab, "Recommended for you")
        assert tab.locator("#notice").is_hidden()


# ------------------------------------------------------------------- in time

CLICK = """selector => new Promise(resolve => {
    const list = document.querySelector("#list");
    const before = list.textContent;
    const watch = new MutationObserver(() => {
        if (list.textContent === before) return;
        watch.disconnect();
        resolve(performance.now() - start);
    });
    watch.observe(list, { childList: true, subtree: true });
    const start = performance.now();
    document.querySelector(selector).click();
})"""


def test_a_list_changes_soon_after_a_click(visited, server):
    with visited(server, "/" + PICKED) as tab:
        shows(tab, "Recommended for you")
        spent = []
        for selector in ["#list [data-does=add]", "#list .reason"] * 5:
            spent.append(tab.evaluate(CLICK, selector))
            shows(tab, "Recommended for you")
        assert np.median(spent) < 1000  # 150 on a machine that does nothing else


def test_an_answer_to_an_older_question_never_replaces_a_newer_one(visited, server, model):
    held = []

    def hold_first(route):
        if held:
            route.continue_()
        else:
            held.append(route)

    with visited(server) as tab:
        popular = shows(tab, "Popular items")
        tab.route("**/recommend", hold_first)
        tab.locator("#list [data-does=add]").nth(0).click()
        tab.locator("#list [data-does=add]").nth(1).click()
        wanted = model.recommend_for(popular[:2], 12)[0]
        lists(tab, wanted)
        assert len(held) == 1
        late = {"items": [{"item": "late", "score": 1.0}], "fallback": False, "model": "x"}
        held[0].fulfill(body=json.dumps(late), content_type="application/json")
        tab.wait_for_timeout(200)
        lists(tab, wanted)


# -------------------------------------------------------- when there is no answer


def test_a_server_with_a_key_gets_it_from_a_field_and_the_tab_keeps_it(visited, model, tmp_path):
    with (
        serving(model.save(tmp_path / "run"), "--most_wait", 1000, ULTRAGCN_KEY=KEY) as server,
        visited(server, expected="401") as tab,
    ):
        field = tab.get_by_label("Key of this server")
        field.wait_for()
        assert tab.evaluate("document.activeElement.id") == "key"
        field.fill("another-key-of-16-signs")
        tab.get_by_role("button", name="Use key").click()
        tab.get_by_text("The server did not take this key. Check it and try again.").wait_for()
        field.fill(KEY)
        tab.keyboard.press("Enter")
        shows(tab, "Popular items")
        assert field.is_hidden()
        tab.locator("[data-does=add]").first.click()
        shows(tab, "Recommended for you")
        tab.reload()
        shows(tab, "Recommended for you")
        assert KEY not in tab.url
        assert tab.evaluate("localStorage.length") == 0


def test_a_busy_server_is_asked_again_and_the_page_says_so(visited, server, model):
    with visited(server, expected="503") as tab:
        popular, refused = shows(tab, "Popular items"), []

        def refuse_twice(route):
            if len(refused) == 2:
                route.continue_()
                return
            refused.append(1)
            route.fulfill(status=503, headers={"Retry-After": "1"}, body='{"error":"busy"}', content_type="application/json")

        tab.route("**/recommend", refuse_twice)
        tab.locator("[data-does=add]").first.click()
        tab.get_by_text("The server is busy. This page tries again in 1 s.").wait_for()
        lists(tab, model.recommend_for(popular[:1], 12)[0])
        assert tab.locator("#notice").is_hidden()
        assert len(refused) == 2


def test_a_busy_server_is_no_longer_called_busy_once_it_has_answered_anything(visited, server):
    refused = []

    def refuse_once(route):
        if refused:
            route.continue_()
        else:
            refused.append(1)
            route.fulfill(status=503, headers={"Retry-After": "1"}, body='{"error":"busy"}', content_type="application/json")

    with visited(server, expected="503") as tab:
        tab.route("**/items?*", refuse_once)
        tab.locator("#search").fill("river")
        tab.get_by_text("The server is busy. This page tries again in 1 s.").wait_for()
        tab.locator("[role=option]").first.wait_for()
        assert tab.locator("#notice").is_hidden()


def test_the_page_notices_that_the_server_has_another_model(visited, server):
    with visited(server) as tab:
        before = tab.locator("#model").inner_text()
        assert before.endswith(f"2,000 users · 600 items · ultragcn {__version__}")
        tab.route("**/recommend", lambda route: route.fulfill(json=route.fetch().json() | {"model": "another-1"}))
        tab.route("**/model", lambda route: route.fulfill(json=route.fetch().json() | {"model": "another-1", "users": 7}))
        tab.locator("[data-does=add]").first.click()
        tab.get_by_text("another-1 · 7 users").wait_for()


def test_a_server_that_is_gone_is_a_sentence_and_a_button_that_tries_again(browser, server, model):
    with opened(server.url, browser) as (tab, _, _):
        tab.set_default_timeout(10_000)
        popular = shows(tab, "Popular items")
        tab.route("**/recommend", lambda route: route.abort())
        tab.locator("[data-does=add]").first.click()
        tab.get_by_text("The server cannot be reached. Check that it runs, then try again.").wait_for()
        assert shows_what_it_had(tab) == popular
        tab.unroute("**/recommend")
        tab.get_by_role("button", name="Try again").click()
        lists(tab, model.recommend_for(popular[:1], 12)[0])
        assert tab.locator("#notice").is_hidden()


def shows_what_it_had(tab):
    return tab.locator("#list .title").all_text_contents()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (422, "The server could not answer this: k is <b>wrong</b>"),
        (500, "Something went wrong in the server. Try again."),
        (200, "The server cannot be reached. Check that it runs, then try again."),  # and a body that is not JSON
    ],
)
def test_other_answers_are_one_plain_sentence(visited, server, status, sentence):
    body = "<html>" if status == 200 else '{"error": "k is <b>wrong</b>"}'
    with visited(server, expected=str(status)) as tab:
        tab.route("**/recommend", lambda route: route.fulfill(status=status, body=body, content_type="application/json"))
        tab.locator("[data-does=add]").first.click()
        tab.get_by_text(sentence).wait_for()
        assert tab.locator("#notice-text").inner_text() == sentence


def test_whom_the_model_does_not_know_is_said_and_nothing_else_changes(visited, server):
    with visited(server, expected="404") as tab:
        popular = shows(tab, "Popular items")
        look_up(tab, "<b>nobody</b>")
        tab.get_by_text("The model does not know user “<b>nobody</b>”.").wait_for()
        assert shows_what_it_had(tab) == popular
        assert tab.get_attribute("#user", "aria-invalid") == "true"
        assert "nobody" not in tab.url


def test_an_address_with_unknown_items_a_user_and_nonsense_shows_what_it_can(visited, server, model):
    with visited(server, "/#item=gone&item=Quiet+River+%28jazz%29&diversity=7&count=many&language=xx&constructor=1") as tab:
        lists(tab, model.recommend_for([RIVER], 12)[0])
        assert tab.locator("#notice-text").inner_text() == "The model does not know one of these items, so the item was left out."
        assert chips(tab) == [RIVER]
        assert "gone" not in tab.url
    with visited(server, "/#item=gone&item=away", expected="404") as tab:
        shows(tab, "Popular items")
        assert tab.locator("#notice-text").inner_text() == "The model does not know 2 of these items, so they were left out."
    with visited(server, "/#user=nobody&item=gone", expected="404") as tab:
        shows(tab, "Popular items")
        assert chips(tab) == []


def test_more_are_shown_and_the_next_one_has_the_focus(visited, server, model):
    with visited(server, "/" + PICKED) as tab:
        shows(tab, "Recommended for you")
        tab.get_by_role("button", name="Show more").click()
        lists(tab, model.recommend_for([RIVER, GARDEN], 24)[0])
        assert focused_row(tab) == shows(tab, count=24)[12]
        tab.reload()
        shows(tab, "Recommended for you", count=24)


# ------------------------------------------------------- what a model cannot do


def test_a_model_that_compares_no_items_by_vectors_has_no_slider(visited, tmp_path):
    made = ItemKNN().fit(load_dataset("demo"))
    with serving(made.save(tmp_path / "run"), "--most_wait", 1000) as server, visited(server, "/" + PICKED + "&diversity=0.5") as tab:
        lists(tab, made.recommend_for([RIVER, GARDEN], 12)[0])
        assert tab.locator("#diversity").is_hidden()


def test_a_model_that_knows_its_users_alone_is_looked_up_by_user(visited, server, model):
    def without_abilities(route):
        about = route.fetch().json()
        route.fulfill(json=about | {"abilities": []})

    with visited(server) as tab:
        tab.route("**/model", without_abilities)
        tab.reload()
        tab.get_by_text("Look up a user to see what this model recommends.").wait_for()
        shows(tab, "Popular items")
        assert tab.locator("#search").is_hidden()
        assert tab.locator("#list button").count() == 0
        look_up(tab, "user-0001")
        lists(tab, model.recommend("user-0001", 12)[0])
        assert tab.locator("#list button").count() == 0
        assert tab.locator("#has button").count() == 0
