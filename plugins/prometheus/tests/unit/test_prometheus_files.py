"""The dashboard and the alert rules use only metrics and labels that there are, and the wheel ships them."""

import json
import re
from importlib.resources import files

import pytest
import yaml
from click.testing import CliRunner

from drivetrain_prometheus.command import main
from drivetrain_prometheus.metrics import EXPORTED, OBSERVED, SERVED, STATUS

FAMILIES = [*OBSERVED, *STATUS, *SERVED, *EXPORTED]
#: The labels of each sample that a query may name; those of the endpoint of a worker have one more.
LABELS = {
    sample: {
        *family.labels,
        *(["le"] if sample.endswith("_bucket") else []),
        *(["process"] if family in OBSERVED or family in STATUS else []),
    }
    for family in FAMILIES
    for sample in family.samples
}
#: A metric, with its matchers if it has any.
SELECTOR = re.compile(r"\b(drivetrain_\w+)(?:\{([^}]*)})?")
GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")


def shipped(name):
    return files("drivetrain_prometheus").joinpath(name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def dashboard():
    return json.loads(shipped("dashboard.json"))


@pytest.fixture(scope="module")
def rules():
    [group] = yaml.safe_load(shipped("alerts.yaml"))["groups"]
    return group["rules"]


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard):
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def check(query):
    """Check every selector and every grouping of a query; the names of its metrics."""
    names = set()
    for name, matchers in SELECTOR.findall(query):
        assert name in LABELS, f"there is no metric {name}: {query}"
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert used <= LABELS[name], f"{name} has no labels {used - LABELS[name]}: {query}"
        names.add(name)
    assert names, f"no metric: {query}"
    for labels in GROUPING.findall(query):
        for label in re.findall(r"\w+", labels):
            assert any(label in LABELS[name] for name in names), f"no metric has the label {label}: {query}"
    return names


@pytest.mark.parametrize(
    "wrong",
    [
        "rate(drivetrain_task_total[5m])",
        'drivetrain_queue_messages{state="ready"}',
        "sum by (worker) (drivetrain_workers)",
        "drivetrain_tasks",
    ],
)
def test_the_check_finds_what_is_wrong(wrong):
    with pytest.raises(AssertionError):
        check(wrong)


def test_the_dashboard_shows_metrics_that_there_are(dashboard):
    assert len(queries(dashboard)) > 20
    used = {name for query in queries(dashboard) for name in check(query)}
    unused = {family.name for family in FAMILIES if not used.intersection(family.samples)}
    assert unused == set(), "metrics that no panel shows"


def test_its_variables_select_metrics_that_there_are(dashboard):
    variables = dashboard["templating"]["list"]
    assert [one["name"] for one in variables] == ["datasource", "app", "queue", "task"]
    for variable in variables[1:]:
        for name in re.findall(r"drivetrain_\w+", variable["query"]["query"]):
            assert name in LABELS


def test_its_panels_do_not_overlap(dashboard):
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_legends_name_labels_that_the_query_keeps(dashboard):
    for panel in panels(dashboard):
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)}}", target["legendFormat"]))
            kept = {label for labels in GROUPING.findall(target["expr"]) for label in re.findall(r"\w+", labels)}
            if not kept:
                [(name, _)] = SELECTOR.findall(target["expr"])
                kept = LABELS[name] if named else set()
            assert named <= kept, panel["title"]


def test_alerts_use_metrics_that_there_are(rules):
    assert len(rules) >= 10
    for rule in rules:
        names = check(rule["expr"])
        assert re.fullmatch(r"Drivetrain[A-Z]\w+", rule["alert"])
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        text = " ".join(rule["annotations"].values())
        for label in re.findall(r"\$labels\.(\w+)", text):
            assert any(label in LABELS[name] for name in names), rule["alert"]
    assert len({rule["alert"] for rule in rules}) == len(rules)


def test_there_is_an_alert_for_what_matters(rules):
    watched = {name for rule in rules for name in check(rule["expr"])}
    assert {
        "drivetrain_up",
        "drivetrain_workers",
        "drivetrain_queue_oldest_seconds",
        "drivetrain_queue_messages",
        "drivetrain_tasks_total",
        "drivetrain_task_wait_seconds_bucket",
        "drivetrain_runs_interrupted_total",
        "drivetrain_results_discarded_total",
        "drivetrain_publish_failures_total",
    } <= watched


@pytest.mark.parametrize(("command", "name"), [("dashboard", "dashboard.json"), ("alerts", "alerts.yaml")])
def test_the_command_prints_them(command, name):
    outcome = CliRunner().invoke(main, [command])
    assert (outcome.exit_code, outcome.stdout) == (0, shipped(name))
