"""A JSON schema of configuration files for editors, generated from the settings models.

The schema describes the file before inheritance. A run names only settings that differ from
inherited ones, so no key is required, and a section without a ``name`` may be of any kind. Errors
that only the merged settings show (a crop that is larger than its image) are left to
:mod:`gcdflow.config.runs`.
"""

from __future__ import annotations

import json
from typing import Any

from gcdflow.config.settings import RunSettings, Settings, kinds
from gcdflow.config.sweeps import RUN_NAME

Schema = dict[str, Any]

_NAMES = {"pattern": f"^(?:{RUN_NAME.pattern})$"}


def schema_text() -> str:
    """The schema as the text of ``config/config.schema.json``."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def config_schema() -> Schema:
    """The JSON schema (draft 2020-12) of a configuration file."""
    schema = _plain(RunSettings.model_json_schema())
    models, sections = schema["$defs"], schema["properties"]
    for key, section in sections.items():
        section.setdefault("description", _about_section(key))
    references = {key: {"$ref": f"#/$defs/{key}"} for key in sections}
    inherit = {
        "type": ["string", "null"],
        "default": None,
        "description": "run whose settings this one begins with; null: `defaults` alone",
    }
    settings = {"type": "object", "additionalProperties": False}
    sweep = {"inherit": inherit, "over": _over(models, sections), **references}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of gcdflow",
        **settings,
        "properties": {
            "default_runs": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "runs and sweeps that plain `snakemake` makes",
            },
            "defaults": {
                **settings,
                "properties": references,
                "default": {},
                "description": "settings that all runs begin with",
            },
            "runs": _by_name("run", "name of a run, also of its folder in runs/, to its settings"),
            "sweeps": _by_name(
                "sweep", "name of a sweep, which stands for a run of each combination of values"
            ),
        },
        "$defs": {
            "run": {
                **settings,
                "type": ["object", "null"],
                "properties": {"inherit": inherit, **references},
            },
            "sweep": {**settings, "required": ["over"], "properties": sweep},
            **sections,
            **models,
        },
    }


def _by_name(definition: str, description: str) -> Schema:
    return {
        "type": "object",
        "propertyNames": _NAMES,
        "additionalProperties": {"$ref": f"#/$defs/{definition}"},
        "default": {},
        "description": description,
    }


def _over(models: dict[str, Schema], sections: dict[str, Schema]) -> Schema:
    """Schema of ``over`` in a sweep: each key path, with a list of values or named values."""
    described: dict[str, str] = {}
    for key, section in sections.items():
        described[key] = section["description"]
        for model in _models(key):
            for name, field in models[model]["properties"].items():
                described.setdefault(f"{key}.{name}", field["description"])
    values = {"type": ["array", "object"], "minItems": 1, "minProperties": 1}
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            path: {**values, "description": description} for path, description in described.items()
        },
        "description": "key of a setting (`seed`, `dataset.superclass`) to a list of values, or to "
        "a mapping of names to values",
    }


def _models(key: str) -> list[str]:
    """Names of the settings models that a key of a run may hold."""
    if kinds(key):
        return list(dict.fromkeys(kind.__name__ for kind in kinds(key).values()))
    annotation = RunSettings.model_fields[key].annotation
    is_section = isinstance(annotation, type) and issubclass(annotation, Settings)
    return [annotation.__name__] if is_section else []


def _about_section(key: str) -> str:
    """The purpose of a section, or the kinds that its ``name`` selects."""
    if kinds(key):
        return f"one of several kinds, chosen by its `name`: {', '.join(kinds(key))}"
    annotation = RunSettings.model_fields[key].annotation
    return (annotation.__doc__ or "").split("\n")[0].rstrip(".")


def _plain(schema: Any) -> Any:
    """Pydantic's schema without titles, and open for sections that inherit their ``name``."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # A title of type text is Pydantic's; a settings key called title would be a mapping.
    kept = {
        key: _plain(value)
        for key, value in schema.items()
        if key != "discriminator" and not (key == "title" and isinstance(value, str))
    }
    if "oneOf" in kept:  # without a name, several kinds may have the given keys
        kept["anyOf"] = kept.pop("oneOf")
    return kept
