from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gcdflow.clustering.heatmap import as_matrix, draw_heatmap, read_grid_table
from gcdflow.errors import InputError
from PIL import Image

HEADER = "k\tdensity_percentile\tscore\tn_clusters\tseconds\n"


def table(path: Path, text: str) -> Path:
    path.write_text(HEADER + text)
    return path


def test_matrix_has_percentiles_in_rows_and_k_in_columns(tmp_path: Path):
    grid = read_grid_table(
        table(tmp_path / "g.tsv", "5\t40\t1.5\t7\t0\n3\t40\t-1\t2\t0\n5\t80\t2\t9\t0\n")
    )
    matrix, percentiles, ks = as_matrix(grid, "score")
    np.testing.assert_array_equal(matrix, [[-1, 1.5], [np.nan, 2]])
    np.testing.assert_array_equal(percentiles, [40, 80])
    np.testing.assert_array_equal(ks, [3, 5])


def test_tables_with_and_without_the_error_of_silhouettes(tmp_path: Path):
    text = "3\t40\t1\t2\t0\n"
    old = read_grid_table(table(tmp_path / "old.tsv", text))
    new = tmp_path / "new.tsv"
    new.write_text(HEADER.replace("seconds", "silhouette_error\tseconds") + text[:-1] + "\t0\n")
    for name, values in read_grid_table(new).items():
        np.testing.assert_array_equal(values, old[name])


def test_picture_of_one_and_of_many_configurations(tmp_path: Path):
    many = "".join(
        f"{k}\t{p}\t{k - p / 9}\t{k}\t0\n" for k in range(3, 21) for p in range(40, 100, 5)
    )
    for name, text in (("one", "3\t40\t1\t2\t0\n"), ("many", many)):
        draw_heatmap(
            read_grid_table(table(tmp_path / "g.tsv", text)), tmp_path / f"{name}.png", name
        )
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (1200, 480)
            assert len(picture.convert("RGB").getcolors(maxcolors=100_000)) > 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no configuration"),
        ("3\t40\thigh\t2\t0\n", "expected numbers in the columns k, density_percentile, score"),
        ("3\t40\n", "not a grid table"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        read_grid_table(table(tmp_path / "g.tsv", text))
    with pytest.raises(InputError, match="cannot be read"):
        read_grid_table(tmp_path / "missing.tsv")
