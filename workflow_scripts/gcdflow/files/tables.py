"""The tables of docs/contract.md, generated from the declarations of files.

``make config`` rewrites them in place; a test fails when page and declarations differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel

from gcdflow.files.declared import FILES, Field, RunFile
from gcdflow.files.keys import Clustering

_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """The text of a page with each of its marked tables replaced."""
    tables = {"files": _table_of_files(), "metadata": _table_of_keys(Clustering)}
    for file in FILES:
        inner = _table_of_keys(file.keys) if file.keys else _table_of_fields(file)
        tables[file.path] = f"`{file.path}`: {file.about}.\n\n{inner}"
    return _TABLE.sub(lambda match: f"{match[1]}\n{tables[match[2]]}\n{match[3]}", text)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _table_of_files() -> str:
    rows = [(f"`{file.path}`", file.about, file.made_by, file.read_by) for file in FILES]
    return _table(("file in `runs/{run}/`", "content", "written by", "read by"), rows)


def _table_of_fields(file: RunFile) -> str:
    is_archive = file.path.endswith(".npz")
    rows = []
    for field in file.fields:
        axes = f" ({' × '.join(field.axes)})" if is_archive and field.axes else ""
        rows.append((f"`{field.name}`", field.kind + axes, _about(field)))
    return _table(("field", "type", "content"), rows)


def _about(field: Field) -> str:
    keys = ", ".join(f"`{key}`" for key in field.keys.model_fields) if field.keys else ""
    parts = [f"{field.about}: {keys}" if 0 < len(keys) < 80 else field.about]
    parts += ["each once"] * field.unique + [field.range] * bool(field.range)
    return "; ".join(parts + ["may be missing"] * field.optional)


def _table_of_keys(model: type[BaseModel]) -> str:
    rows = [(f"`{key}`", field.description or "") for key, field in model.model_fields.items()]
    return _table(("key", "content"), rows)
