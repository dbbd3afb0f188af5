"""`snakemake --report`: one page with the results of all default runs and their captions."""

from __future__ import annotations

import json
import re
from pathlib import Path

from snakemake_runs import make

RUN = "runs/digits-smoke"


def test_the_report_shows_every_result_with_its_caption(finished_copy: Path, tmp_path: Path):
    page = tmp_path / "report.html"
    options = ("--report", str(page), "--report-after-run")
    make(finished_copy, "all", changes={"default_runs": ["digits-smoke"]}, options=options)

    text = page.read_text(encoding="utf-8")
    results = json.loads(re.search(r"var results = (\{.*\});?$", text, re.MULTILINE)[1])
    grids = {f"{RUN}/grid_epoch{epoch}.png" for epoch in ("002", "003", "004")}
    pages = {f"{RUN}/report.html", f"{RUN}/gallery.html", "results/summary.html"}
    assert set(results) == {*grids, *pages, f"{RUN}/curves.png"}
    for path, result in results.items():
        # The report only offers other kinds for download.
        assert result["mime_type"] == ("image/png" if path.endswith(".png") else "text/html")
        assert result["labels"]["result"]
        assert path.startswith("results") or "run digits-smoke" in result["caption"]
    grid = results[f"{RUN}/grid_epoch003.png"]
    assert grid["labels"] == {"result": "Grid search, epoch 003"}
    assert "epoch 003" in grid["caption"].replace("\n", " ")
    categories = json.loads(re.search(r"var categories = (\{.*\});?$", text, re.MULTILINE)[1])
    assert set(categories) == {"digits-smoke", "All runs"}
    assert "puts every unlabelled image into a category" in text  # the first page of the report

    page = (finished_copy / RUN / "report.html").read_text()
    rows = re.findall(r'<tr>\n<td style="text-align: right;">(\d+)</td>', page)
    assert rows == ["002", "003", "004"]
