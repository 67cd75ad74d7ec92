"""Every flow of the dashboard, in a real browser, against a real daemon."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import Past, write_shot

expect = pytest.importorskip("playwright.sync_api").expect
Open = Callable[..., Any]


def ask(page: Any, question: str, mode: str = "one") -> Any:
    """The cards of the answers."""
    page.locator(f"input[name=mode][value={mode}]").check(force=True)
    page.fill("#question", question)
    number = page.locator(".turn").count()
    page.press("#question", "Enter")
    turn = page.locator(".turn").nth(number)
    expect(turn).to_have_attribute("aria-busy", "false", timeout=60_000)
    return turn.locator(".answer")


def fate(past: Past, page: Any) -> dict[str, Any]:
    """Of the feedback that the page has just given thanks for."""
    said = page.locator(".thanks[data-id]").last
    said.wait_for()
    return past.live.fate(said.get_attribute("data-id"))


def test_at_a_glance(opened: Open, past: Past) -> None:
    page = opened()
    assert page.url == f"{past.live.url}/"  # the token is out of the address
    expect(page.locator("#version")).to_have_text(str(past.live.get("/v1/status")["version"]))
    expect(page.locator("#what")).to_have_text("pocket, nf4 on cpu")
    expect(page.locator("#forgotten")).to_contain_text(re.compile(r"^No\. It is kept: sums at \d\.\d{3}"))
    expect(page.locator("#say-forgotten")).to_have_attribute("data-answer", "no")
    expect(page.locator("#learned")).to_contain_text("lessons in")
    expect(page.locator("#tiles")).to_contain_text("walk ratio")
    for chart in ("retention", "fitness", "norm"):
        page.locator(f"#{chart}-chart canvas").wait_for()
    write_shot(page, "glance")
    page.reload()
    page.wait_for_selector("#control:visible")  # the token stays for this tab


def test_a_suite_is_chosen_by_the_keyboard(opened: Open) -> None:
    page = opened()
    expect(page.get_by_role("button", name=re.compile("^sums, retention"))).to_have_attribute("aria-pressed", "true")
    other = page.get_by_role("button", name=re.compile("^learned-demonstration"))
    other.focus()
    page.keyboard.press("Enter")
    expect(other).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#retention-caption")).to_contain_text("learned-demonstration: ")
    page.get_by_role("button", name="Last 50", exact=True).click()
    expect(page.get_by_role("button", name="Last 50", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(other).to_have_attribute("aria-pressed", "true")


def test_without_the_token_it_reads_and_chats_and_changes_nothing(opened: Open, past: Past) -> None:
    page = opened(token=None)
    expect(page.locator("#locked")).to_be_visible()
    for hidden in ("#control", "#pause"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#queue")).to_contain_text("holders of the admin token")
    answer = ask(page, "What is 2+3?")
    expect(answer.locator(".chip")).to_have_text(re.compile(r"version \d+"))
    assert answer.locator(".text").inner_text().strip()
    assert answer.locator("button").count() == 0
    page.locator("#rollbacks button").first.click()
    expect(page.locator("#story-body")).to_contain_text("quotes what people wrote")


def test_a_wrong_token_is_dropped_and_said(opened: Open) -> None:
    page = opened(token="wrong")
    expect(page.locator("#locked")).to_contain_text("not valid any more: open it anew by edge-es dashboard")
    page.wait_for_timeout(1500)  # what is read anew meanwhile must not hide it
    expect(page.locator("#locked")).to_be_visible()
    assert page.evaluate("() => sessionStorage.length") == 0


def test_the_address_with_the_token_opens_a_tab_that_has_the_page_already(opened: Open, past: Past) -> None:
    page = opened(token=None)
    page.goto(f"{past.live.url}/#token={past.token}")
    page.wait_for_selector("#control:visible")
    assert page.url == f"{past.live.url}/"
    page.locator(".skip").focus()
    page.keyboard.press("Enter")  # another fragment is no token
    expect(page.locator("#control")).to_be_visible()


def test_a_lesson_that_is_refused_is_not_lost(opened: Open, past: Past) -> None:
    page = opened()
    answer = ask(page, "Reverse planet.")
    answer.get_by_role("button", name="Edit the answer").click()
    answer.get_by_label("The answer as it should be").fill("tenalp, of course")
    error = {"error": {"message": "the disk is full", "type": "x", "param": None, "code": None}}
    page.route("**/v1/feedback", lambda route: route.fulfill(status=401, json=error))
    answer.get_by_role("button", name="Teach this").click()
    expect(answer.locator(".failed")).to_have_text("the disk is full")
    expect(answer.get_by_label("The answer as it should be")).to_have_value("tenalp, of course")
    page.unroute("**/v1/feedback")
    answer.get_by_role("button", name="Teach this").click()
    assert fate(past, page)["feedback"]["value"] == "tenalp, of course"
    expect(answer.locator(".failed")).to_have_count(0)


def test_a_talk_goes_on_with_what_was_corrected_and_chosen(opened: Open, past: Past) -> None:
    """The choice of an earlier turn once replaced the newest answer."""
    page = opened()
    page.locator("#keep").check(force=True)
    asked: list[list[dict[str, str]]] = []
    page.on("request", lambda one: asked.append(one.post_data_json["messages"]) if "completions" in one.url else None)
    for _ in range(6):
        page.locator("#keep").uncheck(force=True)
        both = ask(page, "Tell me about the sea and the old town.", "two")
        texts = [both.nth(i).locator(".text").inner_text() for i in range(2)]
        if texts[0] != texts[1]:
            break
    page.locator("#keep").check(force=True)
    answer = ask(page, "Reverse planet.")
    both.nth(1).get_by_role("button", name="This one is better").click()
    fate(past, page)
    answer.get_by_role("button", name="Edit the answer").click()
    answer.get_by_label("The answer as it should be").fill("tenalp")
    answer.get_by_role("button", name="Teach this").click()
    expect(answer.locator(".thanks")).to_contain_text("It was shown your answer")
    ask(page, "And garden?")
    assert [one["content"].strip() for one in asked[-1]] == [
        *("Tell me about the sea and the old town.", texts[1].strip(), "Reverse planet.", "tenalp", "And garden?")
    ]


def test_thumbs_and_an_edited_answer_become_lessons_and_are_reviewed(opened: Open, past: Past) -> None:
    page = opened()
    served = past.live.get("/v1/status")["version"]
    answer = ask(page, "What is 17+25?")
    expect(answer.locator(".chip")).to_have_text(f"version {served}")
    answer.get_by_role("button", name="Good answer").click()
    rated = fate(past, page)
    assert (rated["kind"], rated["state"], rated["feedback"]["value"]) == ("rating", "review", True)
    answer = ask(page, "Write the word river in capitals.")
    answer.get_by_role("button", name="Edit the answer").click()
    answer.get_by_label("The answer as it should be").fill("RIVER!")
    answer.get_by_role("button", name="Teach this").click()
    expect(answer.locator(".thanks")).to_contain_text("It was shown your answer")
    shown = fate(past, page)
    assert (shown["kind"], shown["feedback"]["value"]) == ("demonstration", "RIVER!")
    # The queue hears of both, live, with what was asked and answered.
    expect(page.get_by_role("tab", name=re.compile("In review"))).to_have_attribute("aria-selected", "true")
    entry = page.locator(f"#queue li[data-id='{shown['id']}']")
    expect(entry).to_contain_text("Write the word river in capitals.")
    write_shot(page, "taught")
    entry.get_by_role("button", name=re.compile("^Approve")).click()
    expect(entry).to_have_count(0)
    past.live.until(lambda: past.live.fate(shown["id"])["state"] == "pending", "the approval")
    page.locator(f"#queue li[data-id='{rated['id']}']").get_by_role("button", name=re.compile("^Never")).click()
    past.live.until(lambda: past.live.fate(rated["id"])["state"] == "rejected", "the rejection")
    # What waits can be set aside, and tried again.
    page.get_by_role("tab", name=re.compile("^Waiting")).click()
    entry.get_by_role("button", name=re.compile("^Set aside")).click()
    past.live.until(lambda: past.live.fate(shown["id"])["state"] == "set_aside", "setting it aside")
    page.get_by_role("tab", name=re.compile("^Set aside")).click()
    entry.get_by_role("button", name=re.compile("^Try again")).click()
    past.live.until(lambda: past.live.fate(shown["id"])["state"] == "pending", "the second try")


def test_one_of_two_answers_is_chosen(opened: Open, past: Past) -> None:
    page = opened()
    for question in ("Tell me about the sea and the old town.", "Name a thing.", "Who are you?", "Why?"):
        both = ask(page, question, "two")
        expect(both).to_have_count(2)
        texts = [both.nth(i).locator(".text").inner_text() for i in range(2)]
        if texts[0] != texts[1]:
            break
    both.nth(1).get_by_role("button", name="This one is better").click()
    found = fate(past, page)
    assert found["kind"] == "preference"
    assert {key: value.strip() for key, value in found["feedback"]["value"].items()} == {
        "chosen": texts[1].strip(),
        "rejected": texts[0].strip(),
    }
    expect(both.nth(0).get_by_role("button")).to_have_count(0)


def test_the_anchor_answers_beside_the_served_version(opened: Open, past: Past) -> None:
    page = opened()
    both = ask(page, "What is 3+4?", "anchor")
    expect(both).to_have_count(2)
    expect(both.nth(0).locator(".chip")).to_have_text(re.compile(r"^version [1-9]\d*$"))
    expect(both.nth(1).locator(".chip")).to_have_text("version 0, the anchor")
    assert both.nth(0).locator(".text").inner_text() == both.nth(1).locator(".text").inner_text()  # delta 0, both
    assert both.nth(1).get_by_role("button").count() == 0


def test_a_mark_opens_its_story(opened: Open, past: Past) -> None:
    page = opened()
    mark = page.get_by_role("button", name=re.compile(f"^Version {past.story}: went back"))
    mark.focus()
    page.keyboard.press("Enter")
    body = page.locator("#story-body")
    expect(body).to_contain_text(f"the probes of version {past.story - 1} showed that it had forgotten: sums")
    expect(body).to_contain_text("What is 1+3?")  # an item that changed, with its words
    expect(body).to_contain_text("anchor right, before wrong")
    expect(body).to_contain_text("set aside: the suspect")
    write_shot(page, "story")
    body.get_by_role("button", name="Try again").first.click()
    expect(body).to_contain_text("It waits to be learned again.")
    page.keyboard.press("Escape")
    expect(page.locator("#story")).to_be_hidden()


def test_it_pauses_and_resumes_and_hears_of_others_doing_so(opened: Open, past: Past) -> None:
    page = opened()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#state")).to_have_text("paused")
    assert past.live.get("/v1/status")["learning"] == "paused"
    past.live.post("/v1/learning/resume")
    expect(page.locator("#state")).not_to_have_text("paused")
    expect(page.locator("#news")).to_contain_text("Learning is paused.")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_it_rolls_back_after_asking(opened: Open, past: Past) -> None:
    page = opened()
    before = past.live.get("/v1/status")["version"]
    page.fill("#target", "0")
    page.get_by_role("button", name="Roll back…").click()
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    assert past.live.get("/v1/status")["version"] == before
    page.get_by_role("button", name="Roll back…").click()
    page.get_by_label("Why (kept with the version)").fill("to see it")
    page.locator("#confirm-yes").click()
    expect(page.locator("#version")).to_have_text(str(before + 1))
    expect(page.locator("#news")).to_contain_text(f"Version {before + 1} went back to version 0.")
    assert past.live.versions()[-1]["reason"] == "to see it"
    page.get_by_role("button", name="Measure now").click()
    expect(page.locator("#done")).to_have_text("Measured.")
    expect(page.locator("#forgotten")).not_to_contain_text("ago")


def test_it_exports_or_says_why_not(opened: Open, past: Past) -> None:
    """What it says is what the API answers to the same wish."""
    asked = past.live.client.post("/v1/export", json={"kind": "delta", "name": "by-hand"})
    page = opened()
    page.get_by_role("button", name="Export…").click()
    page.select_option("#format", "delta")
    page.fill("#export-name", "by-page")
    page.locator("#export-form").get_by_role("button", name="Export", exact=True).click()
    said = asked.json()["path"].replace("by-hand", "by-page") if asked.is_success else asked.json()["error"]["message"]
    expect(page.locator("#export-said")).to_contain_text(said)


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
def test_axe_finds_nothing_serious(opened: Open, past: Past, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # The tool runs in the page, which forbids all scripts but its own.
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    ask(page, "What is 3+4?", "anchor")
    page.get_by_role("tab", name=re.compile("^Learned")).click()
    page.locator("#queue li").first.wait_for()
    write_shot(page, f"axe-{scheme}-{width}")
    found = [*serious(axe.run(page))]
    page.locator("#rollbacks button").last.click()
    page.locator("#story-body h3").first.wait_for()
    assert [*found, *serious(axe.run(page))] == []
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def serious(results: Any) -> list[tuple[str, list[str]]]:
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in results.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
