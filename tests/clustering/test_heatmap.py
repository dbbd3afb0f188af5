from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gcdflow.clustering.heatmap import as_matrix, draw_heatmap, read_grid_table
from gcdflow.errors import InputError
from PIL import Image
from stage_processes import in_process

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


def test_both_panels_show_the_grid_and_frame_the_best(tmp_path: Path):
    rows = "3\t40\t-1\t2\t0\n5\t40\t2\t9\t0\n5\t80\t1.5\t7\t0\n"
    grid = read_grid_table(table(tmp_path / "g.tsv", rows))
    figure = draw_heatmap(grid, "epoch 50")
    best = "best: k=5, percentile=40, score 2.0000, 9 clusters"
    assert figure.get_suptitle() == f"epoch 50 ({best})"
    assert draw_heatmap(grid).get_suptitle() == best
    score, clusters = (axes for axes in figure.axes if axes.get_title())
    for axes, column in ((score, "score"), (clusters, "n_clusters")):
        shown = axes.images[0].get_array().filled(np.nan)
        np.testing.assert_array_equal(shown, as_matrix(grid, column)[0])
        assert axes.images[0].origin == "lower"
        assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "5"]
        assert [text.get_text() for text in axes.get_yticklabels()] == ["40", "80"]
        (frame,) = axes.patches
        assert frame.get_bbox().bounds == (0.5, -0.5, 1, 1)
    assert [text.get_text() for text in score.texts] == []
    numbers = {text.get_position(): (text.get_text(), text.get_color()) for text in clusters.texts}
    assert numbers == {(0, 0): ("2", "white"), (1, 0): ("9", "black"), (1, 1): ("7", "black")}


def test_many_cells_have_no_numbers(tmp_path: Path):
    rows = [f"{k}\t{p}\t{k - p / 9}\t{k}\t0\n" for k in range(3, 34) for p in range(40, 50)]
    figure = draw_heatmap(read_grid_table(table(tmp_path / "g.tsv", "".join(rows))))
    assert [len(axes.texts) for axes in figure.axes] == [0] * 4


def test_the_stage_writes_the_picture_and_says_the_best(tmp_path: Path):
    table(tmp_path / "g.tsv", "3\t40\t1\t2\t0\n5\t40\t2\t9\t0\n")
    arguments = ("--grid-table", "g.tsv", "--output", "g.png")
    result = in_process("heatmap", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.endswith(
        "g.png: 2 configurations; best score 2.0000 at k=5 percentile=40, 9 clusters\n"
    )
    with Image.open(tmp_path / "g.png") as picture:
        assert picture.size == (1200, 480)


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
