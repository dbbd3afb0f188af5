"""The documented ``defaults:`` of ``config/config.yaml``, generated from the settings models.

``python workflow_scripts/gcdflow/config/reference.py`` (``make config``) rewrites them, the JSON
schema, and the tables of docs/contract.md. A test fails if files and models differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from pydantic.fields import FieldInfo

if __name__ == "__main__":  # run as a file: the package is one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcdflow.config.schema import schema_text
from gcdflow.config.settings import RunSettings, Settings, kinds
from gcdflow.files.tables import with_tables

BEGIN = "# --- defaults: generated, see workflow_scripts/gcdflow/config/reference.py ---"
END = "# --- end of defaults ---"


def documented_defaults() -> str:
    """YAML text of all keys with defaults and descriptions; alternatives are comments."""
    return "\n".join(["defaults:", *_section(RunSettings(), "  ")]) + "\n"


def _section(settings: Settings, indent: str) -> list[str]:
    lines = []
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, Settings):
            lines += ["", f"{indent}# {_summary(type(value))}", f"{indent}{key}:"]
            lines += _section(value, indent + "  ")
            others = dict.fromkeys(kinds(key).values())
            for other in (kind for kind in others if kind is not type(value)):
                lines += [f"{indent}# or: {_summary(other)}", f"{indent}# {key}:"]
                lines += [f"{indent}# {line}" for line in _section(other(), "  ")]
        else:
            lines.append(_entry(indent, key, value, field))
    return lines


def _entry(indent: str, key: str, value: object, field: FieldInfo) -> str:
    if isinstance(value, str) and ":" in value:
        scalar = f'"{value}"'  # YAML would read some ranges as minutes and seconds
    else:
        scalar = yaml.safe_dump(value, default_flow_style=True).split("\n")[0]
    entry = f"{indent}{key}: {scalar}"
    return f"{entry:<36}  # {field.description}"


def _summary(model: type[Settings]) -> str:
    return (model.__doc__ or "").split("\n")[0].rstrip(".")


def with_defaults(text: str) -> str:
    """The text of a configuration file with its block of defaults replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{documented_defaults()}{END}{after}"


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[3]
    (root / "config" / "config.schema.json").write_text(schema_text(), encoding="utf-8")
    for name, rewritten in (
        ("config/config.yaml", with_defaults),
        ("docs/contract.md", with_tables),
    ):
        text = (root / name).read_text(encoding="utf-8")
        (root / name).write_text(rewritten(text), encoding="utf-8")
