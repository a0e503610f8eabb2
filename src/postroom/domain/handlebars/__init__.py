"""Handlebars as handlebars.js 4.7 reads it, for templates of people one does not trust.

Only plain data is ever looked at: no attribute, no method, no prototype. Whatever a template says, compiling
and rendering it end within limits that are counted (`limits.py`), because a thread would not keep a hostile
template from holding the interpreter.

    source --tags.py--> tags --parse.py--> tree (whitespace.py) --build.py--> functions --Budget--> text
"""

from postroom.domain.handlebars.build import Template, compile_template
from postroom.domain.handlebars.limits import Budget, OverBudget, TemplateError
from postroom.domain.handlebars.values import plain_variables

__all__ = [
    "Budget",
    "OverBudget",
    "Template",
    "TemplateError",
    "compile_template",
    "plain_variables",
]
