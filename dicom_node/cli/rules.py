"""``rules``: which models run on what, what is sent on, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from dicom_node.cli import access, output
from dicom_node.cli.output import Json, StudyArgument

if TYPE_CHECKING:
    from dicom_node.rules.match import RuleSet
    from dicom_node.settings import Configuration

commands = typer.Typer(no_args_is_help=True, help="Rules, which models run on what: check, explain.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(commands, name="rules")


@commands.command()
def check(context: typer.Context, as_json: Json = False) -> None:
    """Read every rule as the node does at its start."""
    rules = compiled(access.configuration(context))
    data = {"good": True, "rules": [_rule(rule) for rule in rules.rules]}
    output.show(data, as_json, _print_check)


@commands.command()
def explain(context: typer.Context, study: StudyArgument, as_json: Json = False) -> None:
    """What every rule says about a study: each condition's value, for the series that won and those that lost."""
    from dicom_node.archive.index import Index
    from dicom_node.cli.studies import find_one
    from dicom_node.jobs.prerequisite import told
    from dicom_node.rules.explain import explain as explained
    from dicom_node.rules.explain import render

    configuration = access.configuration(context)
    rules = compiled(configuration)
    with access.opened(configuration.settings) as database:
        view = Index(database, configuration.settings.node.data_dir).study_view(find_one(database, study))
        decisions = rules.decide_all(view)
        after = told(database, rules, decisions, view)
    explained_ = [{**each, "after": after.get(each["rule"])} for each in explained(decisions)]
    data = {"study_uid": view.study_instance_uid, "rules": explained_}
    words = {name: f"{found['standing']}: {found['words']}" for name, found in after.items()}
    output.show(data, as_json, lambda _: output.write(render(decisions, words)))


def compiled(configuration: Configuration) -> RuleSet:
    """The rules, checked as the node checks them at its start.

    Raises:
        RuleError: with file, line and key.
    """
    from dicom_node.catalogue import Catalogue, contracts_of_rules
    from dicom_node.rules.match import RuleSet

    return RuleSet.compile(configuration, contracts_of_rules(configuration, Catalogue.load(configuration.settings)))


def _rule(rule: Any) -> dict[str, Any]:
    return {
        "name": rule.name,
        "model": rule.contract.name if rule.contract else None,
        "model_version": rule.contract.version if rule.contract else None,
        "trigger": rule.settings.trigger,
        "send_to": list(rule.settings.send_to),
        "priority": rule.settings.priority,
        "conditions": [{"list": name, "condition": condition.text} for name, condition in rule.conditions],
        "prefer": [preference.text for preference in rule.preferences],
        "forward": rule.settings.forward,
        "sop_classes": list(rule.settings.sop_classes),
        "send_hours": list(rule.settings.send_hours),
    }


def _effect(rule: dict[str, Any]) -> str:
    to = ", ".join(rule["send_to"]) or "nobody"
    if rule["model"]:
        return f"{rule['model']} {rule['model_version']}, results to {to}"
    what = "the study of a series that matches" if rule["forward"] == "study" else "series that match"
    when = {"arrival": "as they arrive", "series": "once whole", "study": "once the study is whole"}[rule["trigger"]]
    only = f", only objects of {', '.join(rule['sop_classes'])}" if rule["sop_classes"] else ""
    hours = f", at {', '.join(rule['send_hours'])}" if rule["send_hours"] else ""
    return f"sends on {what} to {to}, {when}{only}{hours}"


def _print_check(data: dict[str, Any]) -> None:
    if not data["rules"]:
        output.write("there are no rules: nothing will run, and nothing is sent on")
    for rule in data["rules"]:
        output.write(f"{rule['name']}: {_effect(rule)}")
        for condition in rule["conditions"]:
            output.write(f"  {condition['list']:<8}  {condition['condition']}")
