"""Loading an app from its reference: errors are distinguished, and similar names are suggested."""

import sys

import pytest

from drivetrain import App, ConfigurationError
from drivetrain.cli.app_loading import load_app


def refusal(reference):
    with pytest.raises(ConfigurationError) as caught:
        load_app(reference)
    return str(caught.value)


def test_attribute_and_only_app(project):
    assert isinstance(load_app("shop:app"), App)
    assert load_app("shop") is load_app("shop:app")


def test_several_apps(project):
    (project / "two.py").write_text("from drivetrain import App\na = App()\nb = App()\nc = a\n")
    assert refusal("two") == "the module 'two' has several apps; apps in it: two:a, two:b, two:c"


def test_one_app_under_two_names(project):
    (project / "alias.py").write_text("from drivetrain import App\na = b = App()\n")
    assert isinstance(load_app("alias"), App)


def test_no_app(project):
    (project / "empty.py").write_text("")
    assert refusal("empty") == "the module 'empty' has no app; there is no app in this module"


def test_no_module(project):
    message = refusal("shp:app")
    assert message.startswith("there is no module 'shp' in ")
    assert message.endswith("did you mean shop?")
    assert "opcode" not in refusal("nope:app")  # nobody has an app in the standard library


def test_no_module_in_a_package(project):
    (project / "goods").mkdir()
    (project / "goods" / "__init__.py").write_text("")
    (project / "goods" / "tasks.py").write_text("")
    assert "no module 'goods.task'" in refusal("goods.task")
    assert refusal("goods.task").endswith("did you mean goods.tasks?")
    assert "no module 'good', and so no 'good.tasks'" in refusal("good.tasks")


def test_a_module_is_not_a_package(project):
    assert refusal("shop.app").endswith("for its attribute, shop:app")


def test_an_import_error_inside_is_not_a_missing_module(project):
    (project / "broken.py").write_text("import os\nimport nothing_of_this_name\n")
    message = refusal("broken")
    assert "'broken' exists, but importing it failed" in message
    assert f"at {project / 'broken.py'}, line 2" in message
    assert "ModuleNotFoundError: No module named 'nothing_of_this_name'" in message


@pytest.mark.parametrize("code", ["1 / 0", "raise SystemExit(7)", "def"])
def test_any_error_inside(project, code):
    (project / "broken.py").write_text(code)
    assert "importing it failed" in refusal("broken")


def test_the_apps_own_errors_stay(project):
    (project / "wrong.py").write_text("from drivetrain import App\napp = App(broker='sqlite')\n")
    assert "broker is 'sqlite'" in refusal("wrong")


def test_no_attribute(project):
    assert refusal("shop:ap") == "the module 'shop' has no 'ap'; did you mean shop:app?"


def test_no_app_but_something_else(project):
    assert refusal("shop:add") == "shop:add is not a drivetrain.App, but of type Task; apps in it: shop:app"


@pytest.mark.parametrize("reference", ["shop.py", "./shop.py:app", ":app", ""])
def test_files_and_nothing(project, reference):
    assert "use module:app, like shop:app" in refusal(reference)


def test_the_current_directory_comes_first(project):
    load_app("shop")
    assert sys.path[0] == str(project)
