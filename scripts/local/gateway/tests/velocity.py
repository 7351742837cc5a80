"""Renders a mapping template as another implementation of Velocity does.

Reads one JSON object, {"template", "requests": [{"body", "context"}]}, and writes the rendered texts as a
JSON list.
"""

import json
import sys
from urllib.parse import quote_plus

import airspeed


class Util:
    """API Gateway's $util."""

    def urlEncode(self, text):
        return quote_plus(text)


class Text(str):
    """A Java string, as far as the template calls it."""

    def matches(self, pattern):
        import re

        return re.fullmatch(pattern, self) is not None


def value(json_value):
    if isinstance(json_value, dict):
        return {name: value(inner) for name, inner in json_value.items()}
    return Text(json_value)


given = json.load(sys.stdin)
template = airspeed.Template(given["template"])
rendered = [
    template.merge(
        {
            "util": Util(),
            "input": {"body": request["body"]},
            "context": value(request["context"]),
        }
    )
    for request in given["requests"]
]
json.dump(rendered, sys.stdout)
