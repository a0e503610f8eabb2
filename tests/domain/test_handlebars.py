"""What templates say, compared with what handlebars.js 4.7.10 says."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from postroom.domain.handlebars import (
    Budget,
    OverBudget,
    TemplateError,
    compile_template,
    plain_variables,
)

CASES_FILE = Path(__file__).with_name("handlebars_cases.json")
CASES: list[dict[str, Any]] = json.loads(CASES_FILE.read_text())
# The folder in which `npm install handlebars@4.7.10` was run, if it was.
NODE_FOLDER = Path(os.environ.get("HANDLEBARS_NODE_FOLDER", "node_modules"))
_NODE = """
const handlebars = require(process.argv[1]);
const cases = JSON.parse(require('fs').readFileSync(0));
console.log(JSON.stringify(cases.map(
  c => handlebars.compile(c.template, {noEscape: !!c.text})(c.variables))));
"""


def render(template: str, variables: dict[str, Any], *, escape: bool = True) -> str:
    compiled = compile_template(template, escape=escape)
    return compiled.render(plain_variables(variables), Budget())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_template_says_what_handlebars_js_says(case) -> None:
    said = render(case["template"], case["variables"], escape=not case.get("text"))
    assert said == case["expected"]


def test_there_are_at_least_forty_cases() -> None:
    assert len(CASES) >= 40


def test_the_recorded_answers_are_those_of_handlebars_js() -> None:
    module = (NODE_FOLDER / "handlebars").resolve()
    node = shutil.which("node")
    if not module.exists() or node is None:
        pytest.skip("needs node, and HANDLEBARS_NODE_FOLDER with handlebars in it")
    ran = subprocess.run(  # noqa: S603 - our own script, over our own cases
        [node, "-e", _NODE, str(module)],
        input=CASES_FILE.read_bytes(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(ran.stdout.splitlines()[-1]) == [case["expected"] for case in CASES]


@pytest.mark.parametrize(
    ("template", "line", "column", "message"),
    [
        ("a {{#if x}} b", 1, 3, '"{{#if}}" is never closed.'),
        ("{{#if x}}{{/each}}", 1, 10, '"{{/each}}" does not match "{{#if}}".'),
        ("one\ntwo {{/if}}", 2, 5, "This closing tag belongs to no open block."),
        ("{{else}}", 1, 1, '"{{else}}" belongs to no open block.'),
        ("{{#if x}}{{else}}{{else}}{{/if}}", 1, 18, 'A block has one "{{else}}" at most.'),
        ("x\n{{name", 2, 1, "This tag is never closed."),
        ("{{name}", 1, 1, "This tag is never closed."),
        ("{{! note", 1, 1, "This comment is never closed."),
        ("{{{name}}", 1, 8, "This tag must be closed by }}}."),
        ("{{name}}}", 1, 7, "This tag must be closed by }}."),
        ("{{> footer}}", 1, 1, "Partials are not supported."),
        ("{{#> layout}}{{/layout}}", 1, 1, "Partials are not supported."),
        ('{{#*inline "x"}}{{/inline}}', 1, 1, "Inline partials and decorators are not supported."),
        ("{{* dec}}", 1, 1, "Decorators are not supported."),
        ("{{{{raw}}}}{{{{/raw}}}}", 1, 1, "Raw blocks ({{{{ }}}}) are not supported."),
        ("{{upper name}}", 1, 3, 'There is no helper "upper".'),
        ("{{#list items}}{{/list}}", 1, 4, 'There is no helper "list".'),
        ("{{log name}}", 1, 3, 'There is no helper "log".'),
        ("{{if name}}", 1, 3, '"if" is a block: write {{#if}}.'),
        ("{{#if}}{{/if}}", 1, 1, "#if takes exactly one value."),
        ("{{#each a b}}{{/each}}", 1, 1, "#each takes exactly one value."),
        ("{{lookup a}}", 1, 3, "lookup takes exactly two values."),
        ("{{a..b}}", 1, 3, 'There is no helper "a".'),
        ("{{a.this}}", 1, 5, '"this" can only begin a path.'),
        ("{{}}", 1, 1, "A name is missing here."),
        ("{{a b=}}", 1, 1, "A name is missing here."),
        ("{{a(b}}", 1, 3, '"a" cannot stand here.'),
        ("{{#if (lookup a b}}{{/if}}", 1, 1, "A parenthesis is never closed."),
        ("{{#if a as |b|}}{{/if}}", 1, 1, 'Only #each and #with can say "as |name|".'),
        ("{{#each a as |}}{{/each}}", 1, 1, 'Names are given as in "as |item index|".'),
    ],
)
def test_what_is_no_template_is_told_with_its_place(template, line, column, message) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(template, escape=True)
    error = caught.value
    assert (error.message, error.line, error.column) == (message, line, column)


@pytest.mark.parametrize("key", ["url", "appUrl", "APP_URL", "imageUri", "uri"])
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://example.com/a?b=1", "https://example.com/a?b=1"),
        (" http://example.com ", "http://example.com"),
        ("HTTPS://Example.com/a b", "HTTPS://Example.com/a%20b"),
        ("http://[::1]:8000/x", "http://[::1]:8000/x"),
        ("javascript:alert(1)", ""),
        ("java\nscript:alert(1)", ""),
        ("data:text/html,x", ""),
        ("//example.com", ""),
        ("/path", ""),
        ("http://", ""),
        ("http://@/", ""),
        ("https:\\\\example.com", ""),
        ("https://exa mple.com", ""),
        ("https://example.com/\nX-Header: 1", ""),
    ],
)
def test_an_address_leads_to_the_web_or_is_empty(key, given, shown) -> None:
    variables = {key: given, "deep": {key: given}, "list": [{key: [given]}], "other": "x:y"}
    template = f"{{{{{key}}}}}|{{{{deep.{key}}}}}|{{{{#each list}}}}{{{{{key}.[0]}}}}{{{{/each}}}}|{{{{other}}}}"
    assert render(template, variables, escape=False) == f"{shown}|{shown}|{shown}|x:y"


def test_a_number_under_an_address_key_stays() -> None:
    assert render("{{url}}", {"url": 7}) == "7"


def test_attributes_and_methods_of_values_are_out_of_reach() -> None:
    template = "{{a.__class__}}{{a.upper}}{{b.append}}{{c.items}}{{d.real}}{{__init__}}"
    assert render(template, {"a": "x", "b": [1], "c": {"k": 1}, "d": 5}) == ""


def test_a_raw_value_is_not_read_as_a_template_again() -> None:
    assert render("{{{a}}}{{b}}", {"a": "{{b}}", "b": "{{a}}"}) == "{{b}}{{a}}"


def test_what_was_asked_for_in_vain_is_known() -> None:
    budget = Budget()
    template = compile_template("{{a}}{{b.c}}{{#if d}}{{/if}}{{../e}}{{f}}", escape=True)
    template.render({"a": 1, "f": ""}, budget)
    assert list(budget.missing) == ["b.c", "../e"]


def test_huge_numbers_are_written_as_javascript_writes_them() -> None:
    said = render("{{a}} {{b}} {{c}}", {"a": 10**400, "b": -(10**30), "c": 123456789012345678})
    assert said == "Infinity -1e+30 123456789012345678"


@pytest.mark.parametrize(
    "variables",
    [
        {"a": [0] * 10_001},
        {"a": [[0] * 100] * 101},
        {"a": "x" * 500_001},
        {"a": ["x" * 100_000] * 6},
    ],
)
def test_variables_have_a_limit(variables) -> None:
    with pytest.raises(OverBudget):
        plain_variables(variables)


def test_variables_are_nested_only_so_deep() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = {"a": [deep]}
    with pytest.raises(OverBudget):
        plain_variables(deep)
