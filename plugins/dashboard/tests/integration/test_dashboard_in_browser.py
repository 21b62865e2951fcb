"""Pages and actions in a real browser: dark and light, on a phone, by keyboard, without a script, with hostile text.

``DASHBOARD_PICTURES=DIRECTORY`` writes a picture of each page; docs/images has some of them.
"""

from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from drivetrain import every
from drivetrain_dashboard import asgi
from support.browsing import STEP_MILLISECONDS, browser, picture, served
from support.dashboard_shop import running_shop
from support.waiting import until

#: It would show a dialog, or close an element, wherever it is not escaped; the last character turns the text around.
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>'\"& {{ 7*7 }}\u202e"
#: Pages by a name for their pictures.
NAMES = {
    "overview": "/",
    "tasks": "/tasks",
    "failed tasks": "/tasks?q=state%3Afailed",
    "wrong search": "/tasks?q=nonsense%3Ax",
    "queues": "/queues",
    "queue": "/queues?queue=mails",
    "workers": "/workers",
    "schedules": "/schedules",
    "schedule": "/schedules?schedule=nightly",
    "limits": "/limits",
    "dead letters": "/dead-letters",
    "operations": "/operations",
    "drivers": "/drivers",
    "nothing": "/nothing",
}


@pytest.fixture(scope="module")
def shop():
    with running_shop(HOSTILE) as shop:
        yield shop


@pytest.fixture(scope="module")
def address(shop):
    routes = [Mount("/read", asgi(shop.app, read_only=True)), Mount("/", asgi(shop.app, poll_seconds=0.2))]
    with served(Starlette(routes=routes)) as address:
        yield address


@pytest.fixture(scope="module")
def chromium(address):
    with browser() as running:
        yield running


@pytest.fixture
def look(chromium, address):
    """Open pages, and fail the test if a page shows a dialog, breaks the policy of its scripts, or has an error."""
    contexts, problems = [], []

    def opened(path, *, width=1280, dark=False, script=True):
        context = chromium.new_context(
            base_url=address,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
        )
        context.set_default_timeout(STEP_MILLISECONDS)
        contexts.append(context)
        page = context.new_page()
        page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("console", lambda line: problems.append(line.text) if "Policy" in line.text else None)
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def findings(page, **options):
    """What axe finds on a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe.axe_script)
    found = page.evaluate("options => axe.run(options)", {"resultTypes": ["violations"], **options})["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


def only(*rules):
    return {"runOnly": {"type": "rule", "values": list(rules)}}


def wider_than_the_window(page):
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


#: The colours of the page.
DARK, LIGHT = "rgb(20, 23, 28)", "rgb(255, 255, 255)"


def background(page):
    return page.locator("html").evaluate("one => getComputedStyle(one).backgroundColor")


def press(page, label):
    page.get_by_role("button", name=label, exact=True).first.click()


def confirm(page, label):
    """Answer the question of the next page."""
    page.get_by_role("link", name="Do nothing, and go back").wait_for()
    press(page, label)


def shows(page, text, where="main > .notice[role=status]"):
    """Wait until the page, or the next one, shows a text: by default as the answer to an action."""
    page.locator(where, has_text=text).first.wait_for()


# Pages


def every_path(shop):
    return {
        **NAMES,
        "failed task": f"/task?id={shop.failed[0]}&arguments=1",
        "running task": f"/task?id={shop.running[0]}",
        "group": f"/task?id={shop.workflow}",
        "unknown task": "/task?id=none",
        "workflow": f"/workflow?id={shop.workflow}",
        "large workflow": f"/workflow?id={shop.large}",
    }


@pytest.mark.parametrize("half", [0, 1])
def test_every_page_is_accessible_in_light_and_dark_and_on_a_phone(shop, look, half):
    page = look("/drivers?live=off")
    for name, path in list(every_path(shop).items())[half::2]:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="light")
        page.goto(path + ("&live=off" if "?" in path else "?live=off"))
        assert (name, findings(page)) == (name, [])
        assert page.locator("h1").count() == 1, name
        assert page.locator("main img, main script, main iframe, main [onerror]").count() == 0, name
        picture(page, f"{name}-light")
        page.emulate_media(color_scheme="dark")
        assert (name, background(page)) == (name, DARK)
        assert (name, findings(page, **only("color-contrast"))) == (name, [])
        picture(page, f"{name}-dark")
        page.set_viewport_size({"width": 360, "height": 900})
        assert not wider_than_the_window(page), name
        assert (name, findings(page, **only("scrollable-region-focusable", "target-size"))) == (name, [])
        picture(page, f"{name}-phone", whole_page=True)


def test_pages_need_no_script(look):
    page = look("/", script=False)
    assert "What needs attention" in page.locator("main").inner_text()
    assert page.locator("#live").is_hidden()
    page.get_by_role("link", name="Tasks", exact=True).click()
    page.locator("#q").fill("task:shop.mails.*")
    press(page, "Search")
    page.wait_for_url("**/tasks?q=task%3Ashop.mails.*")
    assert page.locator("tbody tr").count() == page.locator("tbody tr", has_text="shop.mails").count() > 0


def test_the_overview_says_why_tasks_wait(look):
    page = look("/")
    text = page.locator("main").inner_text()
    assert "Queue mails: 21 tasks wait. It is paused" in text
    assert "Queue failing has" in text
    picture(page, "overview", whole_page=True)


def test_a_large_group_is_folded_in_the_graph(shop, look):
    page = look(f"/workflow?id={shop.large}")
    assert page.locator(".graph a.step").count() == 1 + 8 + 1
    assert "60 SUCCESS" in page.locator(".graph").inner_text()


def test_a_task_of_the_graph_is_a_link(shop, look):
    page = look(f"/workflow?id={shop.workflow}")
    page.locator(".graph a.step", has_text="send_invoice").click()
    shows(page, "shop.mails.send_invoice", "h1")


def test_arguments_are_hidden_until_asked_for(shop, look):
    page = look(f"/task?id={shop.failed[0]}")
    assert "'customer 0'" not in page.content()
    page.get_by_role("link", name="Show arguments and result").click()
    shows(page, "'customer 0'", "main")


# Hostile text


def test_hostile_text_is_only_text(shop, look):
    page = look(f"/task?id={shop.odd}&arguments=1")
    assert HOSTILE in page.locator("h1").inner_text()
    assert HOSTILE in page.locator(".notice.alarm").inner_text()
    assert repr(HOSTILE) in page.locator("main").inner_text()
    assert page.locator("main img, main script, main [onerror]").count() == 0
    page.goto(f"/workflow?id={shop.odd}")
    assert page.locator(".graph title", has_text="onerror").count() > 0
    assert page.locator("main img, main script, main [onerror]").count() == 0
    page.goto("/schedules")
    page.get_by_role("link", name=HOSTILE[:-1], exact=True).click()
    shows(page, HOSTILE[:-1], "h1")
    page.goto("/tasks?q=text%3A%22%3E%3Cscript%3Ealert(3)%3C/script%3E")
    assert page.locator("#q").input_value() == 'text:"><script>alert(3)</script>'


# Actions


def test_a_queue_is_paused_and_resumed_by_keyboard_alone(shop, look):
    page = look("/queues?queue=keyboard")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    tab_until(page, "name", "why")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    shows(page, "Queue keyboard is paused")
    assert shop.app.operations.paused(["keyboard"])["keyboard"].why == "by keyboard"
    tab_until(page, "textContent", "Resume")
    page.keyboard.press("Enter")
    shows(page, "Queue keyboard is resumed")


def tab_until(page, attribute, value):
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(f"document.activeElement.{attribute}") == value:
            return
    raise AssertionError(f"no Tab reaches the element whose {attribute} is {value!r}")


def test_a_task_is_cancelled_and_retried(shop, look):
    task_id = shop.delayed()
    page = look(f"/task?id={task_id}")
    press(page, "Cancel")
    shows(page, "1 task was cancelled")
    shows(page, "CANCELLED", "h1")
    press(page, "Retry")
    shows(page, "1 task was retried")


def test_a_delayed_task_runs_now(shop, look):
    task_id = shop.delayed()
    page = look(f"/task?id={task_id}")
    press(page, "Run now")
    shows(page, "1 task was made due now")
    shows(page, "SUCCESS", "h1")


@pytest.mark.parametrize("script", [True, False], ids=["with a script", "without a script"])
def test_a_selection_is_cancelled(shop, look, script):
    chosen = [shop.delayed() for _ in range(3)]
    page = look(f"/tasks?q=id%3A{chosen[0]}", script=script)
    page.locator(f"input[value='{chosen[0]}']").check()
    if script:
        assert page.locator("[data-selected-count]").inner_text() == "1 selected"
    press(page, "Cancel")
    shows(page, "1 task was cancelled")
    assert [record.state.value for record in shop.app.runtime.backend.read(chosen)] == [
        "CANCELLED",
        "PENDING",
        "PENDING",
    ]


def test_all_rows_are_selected_or_all_that_match(look):
    page = look("/tasks?q=state%3Afailed&live=off")
    rows = page.locator("tbody input[type=checkbox]")
    page.locator("input[data-select-all]").check()
    assert page.locator("[data-selected-count]").inner_text() == f"{rows.count()} selected"
    page.locator("input[name=matching]").check()
    assert page.locator("tbody input:checked").count() == 0
    rows.first.check()
    assert not page.locator("input[name=matching]").is_checked()


def test_all_that_match_are_retried_after_a_question(shop, look):
    page = look("/tasks?q=state%3Afailed+task%3Ashop.mails.send_invoice")
    page.locator("input[name=matching]").check()
    press(page, "Retry")
    shows(page, "tasks that match", ".notice.warning")
    assert findings(page) == []
    picture(page, "confirm-light")
    confirm(page, "Retry")
    page.wait_for_url("**/operation?*")
    page.locator("dd", has_text="done").first.wait_for()
    assert findings(page) == []
    picture(page, "operation-light")


def test_a_question_can_be_left_without_a_change(shop, look):
    page = look("/queues?queue=mails")
    press(page, "Purge")
    page.get_by_role("link", name="Do nothing, and go back").click()
    page.wait_for_url("**/queues?queue=mails")
    assert shop.app.operations.sizes(["mails"])["mails"].ready == 20


def test_a_queue_is_purged(shop, look):
    for number in range(3):
        shop.send(shop.reserve, number, queue="old")
    page = look("/queues?queue=old")
    press(page, "Purge")
    confirm(page, "Purge")
    shows(page, "3 messages were dropped")


def test_a_schedule_is_paused_resumed_triggered_backfilled_and_removed(shop, look):
    shop.app.schedules.put("hourly", shop.reserve.si(1), every(seconds=3600))
    page = look("/schedules?schedule=hourly")
    for label, text in (("Pause", "is paused"), ("Resume", "is resumed"), ("Trigger now", "was sent")):
        press(page, label)
        shows(page, text)
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    page.locator("input[name=start]").fill((now - timedelta(hours=3)).isoformat())
    page.locator("input[name=end]").fill((now - timedelta(hours=1)).isoformat())
    press(page, "Backfill")
    confirm(page, "Backfill")
    shows(page, "2 ticks of schedule hourly were sent")
    press(page, "Remove")
    confirm(page, "Remove")
    shows(page, "is removed")


def test_a_limit_is_set_and_reset(shop, look):
    page = look("/limits?live=off")
    page.locator("tr", has_text="disk").locator("summary", has_text="Change").click()
    page.locator("tr", has_text="disk").locator("input[name=limit]").fill("7")
    page.locator("tr", has_text="disk").get_by_role("button", name="Set").click()
    shows(page, "Limit disk is set to 7")
    page.locator("tr", has_text="disk").locator("summary", has_text="Change").click()
    page.locator("tr", has_text="disk").get_by_role("button", name="Reset").click()
    shows(page, "as in the code again")


def test_dead_letters_are_replayed_and_dropped(shop, look):
    task_ids = [shop.send(shop.send_invoice, "nobody", queue="letters") for _ in range(2)]
    shop.app.worker(queues=("letters",)).drain()
    page = look("/dead-letters?queue=letters&live=off")
    page.locator(f"input[value='{task_ids[0]}']").check()
    press(page, "Replay")
    page.wait_for_url("**/operation?*")
    page.goto("/dead-letters?queue=letters&reason=ValueError&live=off")
    page.locator(f"input[value='{task_ids[1]}']").check()
    press(page, "Drop")
    confirm(page, "Drop")
    page.wait_for_url("**/operation?*")
    until(lambda: shop.app.operations.sizes(["letters"])["letters"].dead == 0, "no dead letter remains")


def test_a_reader_sees_why_nothing_can_be_done_below_a_base_path(shop, look):
    page = look("/read/queues?queue=mails")
    assert page.get_by_role("button", name="Purge").is_disabled()
    assert "This dashboard is read-only." in page.locator("main").inner_text()
    page.get_by_role("link", name="Tasks", exact=True).first.click()
    page.wait_for_url("**/read/tasks")
    assert findings(page) == []


# Live


def test_a_page_follows_what_happens(shop, look):
    page = look("/queues?queue=live")
    page.locator("[data-live-status]", has_text="live").wait_for()
    shop.send(shop.reserve, 1, queue="live")
    page.locator("main", has_text="shop.stock.reserve").wait_for()
    press_live(page, "Pause")
    assert "live=off" in page.url
    page.locator("[data-live-status]", has_text="paused").wait_for()
    page.reload()
    page.locator("[data-live-status]", has_text="paused").wait_for()
    press_live(page, "Resume")
    page.locator("[data-live-status]", has_text="live").wait_for()
    assert "live=off" not in page.url


def press_live(page, label):
    page.locator("#live button", has_text=label).click()


def test_a_page_polls_where_it_hears_no_events(shop, look):
    page = look("/")
    page.route("**/live?*", lambda route: route.abort())
    page.goto("/queues?queue=polled")
    page.locator("[data-live-status]", has_text="every").wait_for()
    shop.send(shop.reserve, 1, queue="polled")
    page.locator("main", has_text="shop.stock.reserve").wait_for()


def test_what_a_person_does_survives_an_update(shop, look):
    page = look("/tasks?q=state%3Afailed")
    box = page.locator("tbody input[type=checkbox]").first
    box.check()
    box.focus()
    value = box.get_attribute("value")
    shop.send(shop.send_invoice, "another")
    shop.app.worker(queues=("failing",)).drain()
    shows(page, "no address: another", "td")
    assert page.locator(f"input[value='{value}']").is_checked()
    assert page.evaluate("document.activeElement.value") == value
    page.goto("/queues?queue=typed")
    page.locator("input[name=why]").fill("a reason")
    shop.send(shop.reserve, 1, queue="typed")
    page.locator("[data-live-status]", has_text="waits while you type").wait_for()
    assert page.locator("input[name=why]").input_value() == "a reason"


def test_the_theme_is_chosen_and_remembered(look):
    page = look("/drivers", dark=True)
    page.locator("#theme-light").check()
    assert background(page) == LIGHT
    page.goto("/limits")
    assert background(page) == LIGHT
    assert page.locator("#theme-light").is_checked()
    page.locator("#theme-auto").check()
    assert background(page) == DARK


def test_the_theme_needs_no_script(look):
    page = look("/drivers", script=False)
    page.locator("#theme-dark").check()
    assert background(page) == DARK
