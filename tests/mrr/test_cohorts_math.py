"""From what changed in a cohort each month to the cells of the heat map."""

from datetime import date
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from mrr.cohorts import Change, Interval, Measure, averages, cohorts, months_between, months_from

JAN, FEB, MAR, APR = date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1), date(2026, 4, 1)

CHANGES = [
    # Two customers come in January with 100 and 50; one doubles in February, the other leaves in April.
    Change(JAN, JAN, acquired_customers=2, acquired_micros=150, customers=2, mrr_micros=150, gross_micros=150),
    Change(JAN, FEB, mrr_micros=100),
    Change(JAN, APR, customers=-1, mrr_micros=-50, gross_micros=-50),
    # One comes in March with 80 and goes down to 60 in the same month.
    Change(MAR, MAR, acquired_customers=1, acquired_micros=80, customers=1, mrr_micros=60, gross_micros=60),
]


def test_changes_add_up_to_cells_and_quiet_months_carry_on():
    (january, _) = cohorts(CHANGES, Measure.NET_MRR, until=APR)

    assert [(cell.period, cell.customers, cell.micros) for cell in january.cells] == [
        (0, 2, 150),
        (1, 2, 250),
        (2, 2, 250),
        (3, 1, 200),
    ]
    assert [cell.ratio for cell in january.cells] == [1, Fraction(5, 3), Fraction(5, 3), Fraction(4, 3)]


def test_logo_and_gross_never_exceed_what_was_acquired():
    (logo, _) = cohorts(CHANGES, Measure.LOGO, until=APR)
    (gross, _) = cohorts(CHANGES, Measure.GROSS_MRR, until=APR)

    assert [cell.ratio for cell in logo.cells] == [1, 1, 1, Fraction(1, 2)]
    assert [cell.ratio for cell in gross.cells] == [1, 1, 1, Fraction(2, 3)]


def test_month_zero_is_the_end_of_the_month_of_acquisition():
    march = cohorts(CHANGES, Measure.NET_MRR, until=APR)[1]

    assert march.cells[0].ratio == Fraction(60, 80)


def test_the_running_month_is_marked_and_the_future_is_blank():
    (january, march) = cohorts(CHANGES, Measure.LOGO, until=MAR)

    assert [cell.is_running for cell in january.cells] == [False, False, True]
    assert len(march.cells) == 1


def test_a_cohort_that_begins_before_its_history_is_blank_until_then():
    taken_over = [Change(JAN, MAR, acquired_customers=1, acquired_micros=40, customers=1, mrr_micros=40)]

    (january,) = cohorts(taken_over, Measure.LOGO, until=APR)

    assert [cell.period for cell in january.cells] == [2, 3]


def test_sources_are_added():
    twice = cohorts([*CHANGES, *CHANGES], Measure.NET_MRR, until=APR)

    assert (twice[0].customers, twice[0].acquired_micros) == (4, 300)
    assert twice[0].cells[1].micros == 500


def test_the_average_is_weighted_and_leaves_the_running_month_out():
    found = averages(cohorts(CHANGES, Measure.NET_MRR, until=APR), Measure.NET_MRR)

    assert [(one.period, one.ratio) for one in found] == [
        (0, Fraction(150 + 60, 150 + 80)),
        (1, Fraction(250, 150)),
        (2, Fraction(250, 150)),
    ]


def test_a_cohort_in_which_nothing_was_acquired_has_no_ratio():
    (only,) = cohorts([Change(JAN, JAN, customers=0)], Measure.NET_MRR, until=JAN)

    assert only.cells[0].ratio is None


def test_months_are_counted_over_the_turn_of_the_year():
    assert months_from(date(2025, 11, 1), FEB) == [date(2025, 11, 1), date(2025, 12, 1), JAN, FEB]
    assert months_from(FEB, JAN) == []
    assert months_between(date(2024, 12, 1), JAN) == 13


def test_a_quarter_is_what_its_months_are_together_when_it_ends():
    (quarter,) = cohorts(CHANGES, Measure.NET_MRR, until=date(2026, 7, 1), interval=Interval.QUARTER)

    assert (quarter.cohort, quarter.customers, quarter.acquired_micros) == (JAN, 3, 230)
    assert [(cell.period, cell.month, cell.micros, cell.is_running) for cell in quarter.cells] == [
        (0, MAR, 310, False),
        (1, date(2026, 6, 1), 260, False),
        (2, date(2026, 7, 1), 260, True),
    ]


def test_years_begin_with_the_fiscal_one():
    assert Interval.YEAR.first_of(MAR, year_starts=2) == FEB
    assert Interval.YEAR.first_of(JAN, year_starts=2) == date(2025, 2, 1)
    assert Interval.QUARTER.first_of(APR, year_starts=2) == FEB
    assert Interval.MONTH.first_of(APR, year_starts=2) == APR


def test_absolute_cells_and_arpa_are_amounts():
    january, _ = cohorts(CHANGES, Measure.ARPA, until=APR)
    absolute = cohorts(CHANGES, Measure.ABSOLUTE, until=APR)

    assert [cell.value(Measure.ARPA) for cell in january.cells] == [75, 125, 125, 200]
    assert [cell.value(Measure.ABSOLUTE) for cell in absolute[0].cells] == [150, 250, 250, 200]
    assert averages(absolute, Measure.ABSOLUTE)[0].ratio == Fraction(150 + 60, 2)
    assert averages([january], Measure.ARPA)[1].ratio == 125
    gone = cohorts([*CHANGES[:1], Change(JAN, FEB, customers=-2, mrr_micros=-150)], Measure.ARPA, until=FEB)
    assert gone[0].cells[1].value(Measure.ARPA) is None


MONTHS = st.integers(0, 40).map(lambda n: date(2024 + n // 12, n % 12 + 1, 1))
SOME = st.lists(st.builds(Change, MONTHS, MONTHS, *[st.integers(-5, 50)] * 5), min_size=1, max_size=20)


@given(SOME, st.sampled_from(Measure), st.sampled_from(Interval), st.integers(1, 12))
def test_cells_equal_a_sum_over_all_changes_until_then(changes, measure, interval, year_starts):
    until = date(2027, 3, 1)
    changes = [change for change in changes if change.cohort <= change.month]

    for cohort in cohorts(changes, measure, until=until, interval=interval, year_starts=year_starts):
        own = [one for one in changes if interval.first_of(one.cohort, year_starts=year_starts) == cohort.cohort]
        assert cohort.cells[-1].month == until and [cell.is_running for cell in cohort.cells].count(True) == 1
        for cell in cohort.cells:
            past = [one for one in own if one.month <= cell.month]
            assert cell.customers == sum(one.customers for one in past)
            kept = "gross_micros" if measure is Measure.GROSS_MRR else "mrr_micros"
            assert cell.micros == sum(getattr(one, kept) for one in past)
            assert cell.period == months_between(cohort.cohort, cell.month) // interval.months
            if measure is not Measure.LOGO:
                assert cell.whole == sum(one.acquired_micros for one in past)
