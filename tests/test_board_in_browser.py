"""The board pack on paper: one page a part on A4 and Letter, in light, drawn as lines, with a foot on every page."""

from __future__ import annotations

import re

import pytest

from tests.test_browser import demo, signed_in

__all__ = ["demo", "signed_in"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("paper", ["A4", "Letter"])
@pytest.mark.parametrize("months", [12, 24])
def test_each_part_is_one_page_and_nothing_is_a_picture(signed_in, demo, paper, months):
    address, _ = demo
    signed_in.emulate_media(color_scheme="dark")
    signed_in.goto(f"{address}/dashboard/board/?months={months}")
    parts = signed_in.locator(".pack-s").count()

    printed = signed_in.pdf(format=paper, landscape=True, print_background=True)

    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == parts == 8
    assert b"/Subtype /Image" not in printed
    wide, high = map(float, re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed).groups())
    assert (round(wide), round(high)) == {"A4": (843, 596), "Letter": (792, 612)}[paper]
    assert signed_in.complaints == []


def test_paper_shows_no_frame_and_the_foot_on_every_page(signed_in, demo):
    address, _ = demo
    signed_in.goto(f"{address}/dashboard/board/")
    signed_in.emulate_media(media="print")

    hidden = [".side", ".top", ".tabbar", ".filters", ".head .acts", ".band"]
    assert [name for name in hidden for one in signed_in.locator(name).all() if one.is_visible()] == []
    foot = signed_in.locator(".pack-foot")
    assert foot.evaluate("element => getComputedStyle(element).position") == "fixed"
    assert re.search(r"Board pack .* as of .* policy 1 · SHA-256 [0-9a-f]{64}$", foot.inner_text())
    clipped = signed_in.evaluate(
        "[...document.querySelectorAll('.pack td, .pack th, .pack .tile-v')]"
        ".filter(cell => cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.textContent)"
    )
    assert clipped == []


def test_the_button_prints_in_light(signed_in, demo):
    address, _ = demo
    signed_in.add_init_script(
        "window.print = () => { window.dispatchEvent(new Event('beforeprint')); window.asked = 1; }"
    )
    signed_in.goto(f"{address}/dashboard/board/?theme=dark")

    signed_in.get_by_role("button", name="Print or save as PDF").click()

    assert signed_in.evaluate("window.asked") == 1
    assert signed_in.evaluate("document.documentElement.dataset.bsTheme") == "light"


@pytest.mark.parametrize("path", ["board/", "settings/summaries/", "settings/summaries/monthly/"])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_serious_accessibility_fault(page, demo, path, width):
    from axe_playwright_python.sync_playwright import Axe

    address, password = demo
    page.goto(f"{address}/")
    page.locator("input[name=login]").fill("finance")
    page.locator("input[name=password]").fill(password)
    page.get_by_role("button", name=re.compile("sign in|log in", re.I)).click()
    page.wait_for_url(re.compile("/dashboard/"))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}/dashboard/{path}")

    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]

    assert [(one["id"], [node["html"][:120] for node in one["nodes"][:2]]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
