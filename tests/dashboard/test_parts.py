"""The parts of pages: what they say, and what they hold for those who do not see colours."""

from decimal import Decimal
from fractions import Fraction

import pytest
from django import forms
from django.contrib.messages import constants
from django.contrib.messages.storage.base import Message
from django.template import Context, Template
from django.test import RequestFactory

from dashboard import parts
from dashboard.parts import Band, Choice, Empty, Fact, Pager, RiskPart, Tile


def drawn(source: str, path: str = "/dashboard/", **values: object) -> str:
    """Render a template text with both tag libraries, as a page at `path` would."""
    request = RequestFactory().get(path)
    return Template("{% load look figures %}" + source).render(Context({"request": request, **values}))


def test_at_most_two_bands_are_shown_worst_first_and_test_data_always():
    shadow, behind = Band("shadow", "eye", "Shadow.", ""), Band("warn", "clock", "Behind.", "")
    shut, test = Band("danger", "plug-off", "No access.", ""), Band("test", "flask", "Test data.", "")

    assert parts.shown_bands([shadow, test, behind, shut]) == [shut, behind, test]
    assert parts.shown_bands([]) == []


@pytest.mark.parametrize(
    ("percent", "step"),
    [
        ("59.9", "d6"), ("60", "d5"), ("70", "d4"), ("80", "d3"), ("88", "d2"), ("94", "d1"), ("97.9", "d1"),
        ("98", "h-n"), ("100", "h-n"), ("102", "h-n"), ("102.1", "u1"), ("106", "u2"), ("112", "u3"), ("120", "u4"),
        ("134.9", "u4"), ("135", "u5"), ("900", "u5"),
    ],
)  # fmt: skip
def test_a_cohort_cell_takes_its_step_about_one_hundred_percent(percent, step):
    assert parts.heat_class(Decimal(percent) / 100) == step


def test_a_cell_that_cannot_exceed_one_hundred_never_turns_to_gain():
    assert parts.heat_class(Fraction(3, 2), diverging=False) == "h-n"
    assert parts.heat_class(Fraction(3, 4), diverging=False) == "d4"
    assert parts.heat_class(None) == "none"


def test_a_sparkline_runs_from_the_lowest_to_the_highest_value():
    assert parts.spark_line([10, 20, 15]) == "0.0,25.0 50.0,3.0 100.0,14.0"
    assert parts.spark_line([7, 7]) == "0.0,14 100.0,14"


def test_losses_hang_below_the_zero_line_of_the_bars():
    gain, loss = parts.spark_bars([100, -100])

    assert gain[0] == "pos"
    assert loss[0] == "neg"
    assert float(gain[2]) + float(gain[4]) == pytest.approx(float(loss[2]))
    assert gain[4] == loss[4]


def test_bars_of_nothing_are_drawn_as_a_thin_line():
    assert {bar[4] for bar in parts.spark_bars([0, 0, 0])} == {"0.4"}


def test_a_figure_is_a_link_to_its_explanation_and_keeps_the_filters():
    html = drawn(
        '{% fig_money 46800 "usd" what="movement of Halden" explain="entry:17" signed=True extra="bold" %}',
        path="/dashboard/movements/?month=2026-03&explain=old",
    )

    assert html == (
        '<a class="fig gain bold" href="?month=2026-03&amp;explain=entry:17" data-explain="entry:17" '
        'aria-label="+$468.00, explain movement of Halden">+$468.00</a>'
    )


def test_a_figure_with_small_decimals_is_read_out_whole():
    html = drawn('{% fig 80282121|small_cents:"usd" what="MRR" explain="mrr" %}')

    assert 'aria-label="$802,821.21, explain MRR"' in html
    assert "$802,821<small>.21</small></a>" in html


def test_names_from_outside_are_escaped():
    html = drawn("{% fig value what=name explain=code %}", value="<b>1</b>", name='"><script>', code="a&b")

    assert "<b>" not in html
    assert "<script>" not in html
    assert 'data-explain="a&amp;b"' in html


def test_a_tile_says_what_is_missing_instead_of_comparing():
    tile = Tile("MRR", "$802,821", "mrr", cents=".21", change="+2.5%", against="against February", direction="up")
    whole = drawn("{% tiles tiles %}", tiles=[tile])
    lacking = drawn("{% tiles tiles %}", tiles=[Tile("MRR", "$1", "mrr", incomplete="incomplete", against="against")])

    assert "against February" in whole
    assert "tabler-arrow-up-right" in whole
    assert "incomplete" in lacking
    assert "against" not in lacking


def test_a_sum_that_fails_says_by_how_much():
    assert "Opening + movements = closing, exactly" in drawn('{% tie 0 "usd" "Opening + movements = closing" %}')
    assert "does not hold: $10.00 less" in drawn('{% tie -1000 "usd" "Opening + movements = closing" %}')


def test_a_risk_bar_is_cut_into_parts_that_add_up_to_the_score():
    signals = [RiskPart("No further attempt", 60, 1), RiskPart("Past due", 25, 2), RiskPart("Dispute", 30, 3)]
    html = drawn("{% risk_bar 100 signals %}", signals=signals)

    assert 'aria-label="No further attempt 60 points, Past due 25 points, Dispute 30 points"' in html
    assert '<rect class="p3" x="85%" y="0" width="15%"' in html


@pytest.mark.parametrize(("score", "word"), [(0, "Low"), (39, "Low"), (40, "Medium"), (69, "Medium"), (70, "High")])
def test_a_score_has_a_word(score, word):
    assert f">{word}<" in drawn("{% severity score %}", score=score)


def test_chips_carry_a_glyph_and_a_word():
    assert "tabler-arrow-down" in drawn('{% movement "contraction" %}')
    assert "Contraction" in drawn('{% movement "contraction" %}')
    assert "Held: no Account" in drawn('{% state "held" "Held: no Account" %}')


def test_a_meter_shows_ours_beside_what_others_used():
    html = drawn("{% meter 115 115000 before=61089 %}")

    assert 'aria-label="61,204 of 115,000"' in html
    assert '<rect class="a" x="53.1%" width="0.1%"' in html


def test_links_and_lists_mark_what_is_chosen():
    choices = [Choice("Events", "?view=event", is_chosen=True), Choice("Netted", "?view=netted")]

    assert '<a href="?view=event" aria-current="true">Events</a>' in drawn('{% segments c label="View" %}', c=choices)
    assert "<b>Events</b>" in drawn('{% menu "View" c %}', c=choices)
    assert 'aria-current="true">Events' in drawn('{% tabs c label="View" %}', c=choices)


def test_small_sheets_show_what_they_are_given():
    assert "41 min" in drawn("{% facts f %}", f=[Fact("Median time to match", "41 min", "", "last 30 days")])
    assert 'class="btn btn-go" href="/x/"' in drawn(
        "{% empty e %}", e=Empty("bolt", "No events yet", "Nothing came.", "Read the past", "/x/", is_main_action=True)
    )
    assert 'rel="next"' in drawn("{% pager p %}", p=Pager("100 of 1,310", next_url="?cursor=2"))
    assert 'class="band band-shadow"' in drawn("{% band b %}", b=Band("shadow", "eye", "Shadow.", "Nothing is sent."))


class SecretForm(forms.Form):
    secret = forms.CharField(label="Signing secret", help_text="Starts with whsec_", initial="")


def test_a_bad_field_points_at_its_hint_and_its_error():
    form = SecretForm({"secret": ""})
    html = drawn("{% field form.secret %}", form=form)

    assert 'aria-describedby="id_secret-hint id_secret-error"' in html
    assert 'aria-invalid="true"' in html
    assert 'id="id_secret-error"' in html
    assert '<label for="id_secret">Signing secret</label>' in html


def test_a_message_may_bring_the_way_back():
    message = Message(constants.SUCCESS, "Matched.", extra_tags="undo /dashboard/matches/3/delete/")

    assert drawn("{{ m|undo_path }}", m=message) == "/dashboard/matches/3/delete/"
    assert drawn("{{ m|undo_path }}", m=Message(constants.SUCCESS, "Saved.")) == ""
