"""Drawings are well-formed, escaped, and hold for no values, one value and huge values."""

import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from drivetrain.app.workflow_tree import Presence, WorkflowBranch, WorkflowStep, WorkflowTree
from drivetrain.contract import State
from drivetrain_dashboard.drawing import (
    Series,
    Span,
    SpanRow,
    TaskTimeline,
    TimeChart,
    TimelineChange,
    span_chart,
    sparkline,
    task_timeline,
    time_chart,
    waterfall,
    workflow_graph,
)
from drivetrain_dashboard.drawing.svg import element, shortened

HOSTILE = "<script>alert(1)</script>\"'&]]>\x00\x1b[31m\ud800\u202egnp"
NOW = 1_800_000_000.0


def parsed(markup):
    """The drawing as a tree; it must be well-formed XML that UTF-8 can hold."""
    assert isinstance(markup, Markup)
    markup.encode("utf-8")
    return ET.fromstring(f"<body>{markup}</body>")


def texts(root):
    return [text.strip() for text in root.itertext() if text.strip()]


def of_class(root, name):
    return [one for one in root.iter() if name in one.get("class", "").split()]


def link(task_id):
    return f"/task?id={len(task_id)}"


def chart(*values, unit="count", step=60.0):
    series = [Series(name=f"line {number}", values=line, style=number + 1) for number, line in enumerate(values)]
    return TimeChart(title="Tasks per minute", since=NOW, step_seconds=step, series=series, unit=unit)


def step(name, state=State.SUCCESS, **more):
    times = {"PENDING": NOW, "STARTED": NOW + 1, state.value: NOW + 3}
    return WorkflowStep(
        **{"id": f"id-{name}", "presence": Presence.RECORDED, "task": name, "state": state, "times": times, **more}
    )


def group(members, shown, **more):
    branches = [WorkflowBranch(index, (step(f"member-{index}"),)) for index in range(shown)]
    fields = {"group": True, "task": "", "members": members, "done": members, "states": {"SUCCESS": members}}
    return step("group", **{"branches": tuple(branches), **fields, **more})


def hrefs(root):
    return [one.get("href") for one in root.iter("a")]


# SVG


def test_text_and_attributes_are_escaped():
    markup = element("text", HOSTILE, class_=HOSTILE)
    root = parsed(markup)
    assert "<script" not in markup
    assert root[0].text == HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")


@given(st.text())
def test_any_text_gives_a_well_formed_element(text):
    parsed(element("text", text, aria_label=text))


def test_numbers_that_are_not_finite_are_drawn_at_zero():
    assert element("rect", x=math.nan, y=math.inf, width=1.25) == '<rect x="0" y="0" width="1.2"/>'


def test_a_long_name_loses_its_start():
    assert shortened("shop.mails.send_invoice", 13) == "…send_invoice"


# Charts


def test_a_chart_without_values_says_so():
    for empty in (chart(), chart([]), chart([None, None]), chart([math.nan])):
        assert "No data in this range" in texts(parsed(time_chart(empty)))


def test_one_value_is_a_point():
    root = parsed(time_chart(chart([None, 5, None])))
    assert len(of_class(root, "dot")) == 1
    assert [one for one in of_class(root, "line") if one.tag == "polyline"] == []


def test_a_step_without_a_value_interrupts_the_line():
    root = parsed(time_chart(chart([1, 2, None, 3, 4])))
    lines = [one.get("points").split() for one in root.iter("polyline")]
    assert [len(line) for line in lines] == [2, 2]


@pytest.mark.parametrize("huge", [1e12, 1e300, 1.7e308, 5e-324])
def test_huge_and_tiny_values_stay_within_the_drawing(huge):
    root = parsed(time_chart(chart([0, huge, huge / 2])))
    for line in root.iter("polyline"):
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 640
            assert 0 <= y <= 190


@given(st.lists(st.none() | st.floats(), max_size=20), st.floats(min_value=1, max_value=1e7))
def test_any_values_give_a_well_formed_chart(values, step):
    parsed(time_chart(chart(values, unit="seconds", step=step)))


def test_a_pointer_over_a_step_shows_its_values():
    root = parsed(time_chart(chart([1234], [None])))
    [area] = of_class(root, "step")
    assert area[0].text == "2027-01-15 08:00 UTC\nline 0: 1,234"


def test_the_legend_names_every_series():
    names = [HOSTILE, "failed"]
    series = [Series(name=name, values=[1, 2], style=number) for number, name in enumerate(names, 1)]
    markup = time_chart(TimeChart(title=HOSTILE, since=NOW, step_seconds=60, series=series))
    entries = ["".join(one.itertext()).strip() for one in parsed(markup).iter("li")]
    assert entries[1] == "failed"
    assert entries[0].startswith("<script>")


def test_a_chart_says_its_last_and_largest_values():
    root = parsed(time_chart(chart([5, 90, 7])))
    [drawing] = [one for one in root.iter("svg") if one.get("role") == "img"]
    assert drawing.get("aria-label") == "Tasks per minute. line 0: 7 last, at most 90"


def test_a_sparkline_has_a_label():
    assert parsed(sparkline([], "failed"))[0].get("aria-label") == "failed: no data"
    assert parsed(sparkline([3], "failed"))[0].get("aria-label") == "failed: 3 now, at most 3"
    assert len(list(parsed(sparkline([1, math.inf, 3], "failed")).iter("polyline"))) == 1


# Spans


def test_no_rows_are_said_to_be_none():
    assert "Nothing is recorded" in texts(parsed(span_chart([], "times")))


def test_a_span_without_extent_can_be_seen():
    root = parsed(span_chart([SpanRow(name="a", spans=[Span(start=NOW, end=NOW, kind="waiting", title="t")])], "times"))
    [span] = of_class(root, "span")
    assert float(span.get("width")) > 0


def test_spans_stay_within_the_drawing():
    spans = [Span(start=at, end=at + 1, kind="waiting", title=HOSTILE) for at in (0.0, NOW, 1e300)]
    root = parsed(span_chart([SpanRow(name=HOSTILE, spans=spans, note=HOSTILE, link="/?a=1&b=2")], HOSTILE))
    for span in of_class(root, "span"):
        assert 0 <= float(span.get("x")) <= 900
        assert float(span.get("x")) + float(span.get("width")) <= 900
    assert hrefs(root) == ["/?a=1&b=2"]


def timeline(*changes, **more):
    known = [TimelineChange(state=state, at=at, worker=HOSTILE) for state, at in changes]
    return TaskTimeline(changes=known, now=NOW + 60, **more)


def test_a_task_that_goes_on_lasts_until_now():
    root = parsed(task_timeline(timeline(("PENDING", NOW), ("STARTED", NOW + 20), attempt=1)))
    assert "20 s" in texts(root)
    assert "40 s so far" in texts(root)
    assert "▶ STARTED (attempt 2)" in texts(root)


def test_a_task_that_ended_does_not_last_until_now():
    root = parsed(task_timeline(timeline(("PENDING", NOW), ("STARTED", NOW + 20), ("SUCCESS", NOW + 25))))
    assert "5 s" in texts(root)
    assert "ended" in texts(root)


def test_what_is_no_state_is_not_drawn():
    assert len(of_class(parsed(task_timeline(timeline(("PENDING", NOW), ("lease ends", NOW + 9)))), "row")) == 1


# Workflows


def test_a_chain_is_drawn_in_order_with_a_link_for_each_task():
    tree = WorkflowTree(
        "a", (step("first"), step("second", State.FAILURE, error=HOSTILE), step("third", State.PENDING, waits=True))
    )
    root = parsed(workflow_graph(tree, link, asked="id-second"))
    names = [one.text for one in of_class(root, "name")]
    assert names == ["first", "second", "third"]
    assert len(hrefs(root)) == 3
    assert len(of_class(root, "asked")) == 1
    assert "○ PENDING, waits" in texts(root)


def test_every_state_has_a_word_and_a_class():
    for state in State:
        root = parsed(workflow_graph(WorkflowTree("a", (step("one", state),)), link))
        assert any(state.value in text for text in texts(root))
        assert of_class(root, f"state-{state.value.lower()}")


@pytest.mark.parametrize("presence", [Presence.FORGOTTEN, Presence.NOT_SENT, Presence.NOT_READ])
def test_a_step_without_a_record_says_so(presence):
    tree = WorkflowTree("a", (WorkflowStep(id="x", presence=presence),))
    assert presence.value in texts(parsed(workflow_graph(tree, link)))


def test_a_group_shows_its_members_up_to_fifty():
    root = parsed(workflow_graph(WorkflowTree("a", (group(50, 50),)), link))
    assert len(hrefs(root)) == 51


def test_a_larger_group_is_folded():
    members = [
        WorkflowBranch(index, (step(f"m{index}", State.FAILURE if index == 77 else State.SUCCESS),))
        for index in range(100)
    ]
    big = group(5000, 0, branches=tuple(members), states={"SUCCESS": 4999, "FAILURE": 1})
    root = parsed(workflow_graph(WorkflowTree("a", (big,)), link))
    assert len(hrefs(root)) == 1 + 8
    assert "m77" in texts(root), "a member that failed is shown"
    assert {"4,999 SUCCESS", "1 FAILURE", "4,992 more members not drawn"} <= set(texts(root))


def test_a_long_chain_is_folded():
    tree = WorkflowTree("a", tuple(step(f"step-{number}") for number in range(1000)))
    root = parsed(workflow_graph(tree, link))
    assert len(hrefs(root)) == 24
    assert "976 SUCCESS" in texts(root)


def test_callbacks_are_drawn():
    tree = WorkflowTree("a", (step("one", on_success=((step("ok"),),), on_error=((step("bad"), step("worse")),)),))
    root = parsed(workflow_graph(tree, link))
    assert {"on success", "on error", "ok", "bad", "worse"} <= set(texts(root))


def test_deep_nesting_is_drawn():
    inner = step("leaf")
    for _ in range(100):
        inner = group(1, 0, branches=(WorkflowBranch(0, (inner, step("then"))),))
    root = parsed(workflow_graph(WorkflowTree("a", (inner,)), link))
    assert len(hrefs(root)) == 201
    parsed(waterfall(WorkflowTree("a", (inner,)), link, NOW))


def test_a_workflow_without_steps_says_so():
    assert "Nothing is recorded of this workflow" in texts(parsed(workflow_graph(WorkflowTree("a", ()), link)))
    assert "Nothing is recorded" in texts(parsed(waterfall(WorkflowTree("a", ()), link, NOW)))


@given(st.text(), st.text(), st.text())
def test_any_text_of_a_workflow_is_escaped(name, task_id, error):
    tree = WorkflowTree("a", (step(name, State.FAILURE, id=task_id, error=error, worker=error),))
    parsed(workflow_graph(tree, link))
    parsed(waterfall(tree, link, NOW))


def test_a_waterfall_has_a_row_for_each_task_with_what_it_waited_and_ran():
    tree = WorkflowTree(
        "a", (step("first"), group(2, 2), step("last", State.PENDING, times={"PENDING": NOW}, waits=True))
    )
    root = parsed(waterfall(tree, link, NOW + 10))
    assert len(of_class(root, "row")) == 5
    titles = [one.text for one in root.iter("title")]
    assert "waited: 1 s" in titles
    assert "✓ SUCCESS: 2 s" in titles
    assert "waits for the step before it: 10 s" in titles


def test_a_large_waterfall_is_cut():
    tree = WorkflowTree("a", tuple(step(f"step-{number}") for number in range(250)))
    root = parsed(waterfall(tree, link, NOW))
    assert len(of_class(root, "row")) == 200
    assert "50 more tasks not drawn." in texts(root)
