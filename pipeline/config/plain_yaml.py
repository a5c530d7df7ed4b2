"""Read a YAML file of plain values. What YAML allows beyond them can hang, run code, or mean something unexpected."""

import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.text_file import CONTROL, read_text
from pipeline.errors import UserError, brief

# A row's settings are six levels deep.
MOST_LEVELS = 20
# Larger than any setting. Python refuses to print numbers of 4300 digits.
MOST_DIGITS = 30
INTEGER = "tag:yaml.org,2002:int"


def read_plain_yaml(path: Path) -> Any:
    """Return the content of a YAML file: text, numbers, truth values, lists and mappings.

    Raises UserError with file and line for anything else. Dates, 0x10 and 1:30 are text.
    """
    return parse_plain_yaml(read_text(path), path)


def parse_plain_yaml(text: str, path: Path) -> Any:
    """Return the content of the text of a YAML file, as `read_plain_yaml` does. path: as errors name the file."""
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # The parser itself fails on some escapes and directives.
        raise UserError(f"{path}: not a YAML file") from None


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors, aliases, tags and repeated keys, and with few rules for what is not text."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (the base class has one)
    levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if event.anchor is not None:
            raise self._refused("anchors and aliases (& and *) are not allowed. Write the value again", event)
        if getattr(event, "tag", None) is not None:
            tag = brief(event.tag.replace("tag:yaml.org,2002:", "!!"))
            raise self._refused(f"the tag {tag} is not allowed. Write plain text or numbers", event)
        if isinstance(event, yaml.ScalarEvent) and (found := CONTROL.search(event.value)):
            raise self._refused(f"text contains {found[0]!r}. Control characters are not allowed. Remove it", event)
        if self.levels == MOST_LEVELS:
            raise self._refused(f"nested more than {MOST_LEVELS} levels deep. Write fewer brackets or levels", event)
        self.levels += 1
        node = super().compose_node(parent, index)
        self.levels -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag == INTEGER and len(node.value) > MOST_DIGITS:
            raise self._refused(f"a number of {len(node.value)} digits. Write at most {MOST_DIGITS}", event)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refused("a key must be plain text", key_node)
            key = self.construct_object(key_node)
            if key in seen:
                raise self._refused(f"{brief(key)} appears twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)

    @staticmethod
    def _refused(problem: str, found: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=found.start_mark)


# YAML 1.1's values, less dates and numbers of other bases. Those are text.
for kind, values in {
    "null": "~|null|Null|NULL|",
    "bool": "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
    "int": "[-+]?(?:0|[1-9][0-9_]*)",
    "float": r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|\.(?:inf|Inf|INF))"
    r"|\.(?:nan|NaN|NAN)",
}.items():
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(rf"(?:{values})\Z"), None)
