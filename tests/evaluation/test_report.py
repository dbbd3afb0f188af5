import json

import pytest
from example_files import make_metrics as metrics
from gcdflow.errors import InputError
from gcdflow.evaluation.report import (
    COLUMNS,
    markdown_table,
    percent,
    read_metrics,
    row,
    warning_text,
)
from stage_processes import in_process


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (0, "0.0"), (1, "100.0"), (0.12345, "12.3")]
)
def test_percent(share, text):
    assert percent(share) == text


def test_row():
    cells = row(metrics())
    assert len(cells) == len(COLUMNS)
    first = ["050", "50.0", "75.0", "0.0", "100.0", "12.3", "-", "12", "0.46"]
    assert cells == [*first, "-", "-", "5.0"]
    changed = metrics(label_change_rate=0.031, agreement=-0.02, against_labels=0.5)
    assert row(changed)[-3:] == ["3.1", "-2.0", "50.0"]


def test_a_range_of_clusters_stands_behind_their_number():
    cells = row(metrics(label_draws=3, k_range=[10, 13]))
    assert cells[COLUMNS.index("clusters")] == "12 (10–13)"


def test_metrics_from_before_the_comparisons(tmp_path):
    older = {k: v for k, v in metrics().items() if k not in ("agreement", "against_labels")}
    (tmp_path / "m.json").write_text(json.dumps(older))
    read = read_metrics(tmp_path / "m.json")
    assert row(read)[-2:] == ["-", "-"]
    assert warning_text([read]) == ""


def test_epochs_against_the_labels_have_a_warning():
    shares = {75: 0.1, 125: 0.25, 100: 0.312, 50: None}
    text = warning_text([metrics(epoch, against_labels=share) for epoch, share in shares.items()])
    first, second, empty, what_to_do = text.splitlines()
    assert first == (
        "- Warning: the clusters of epoch 100 contradict the labels: 31.2 % of the "
        "labelled images are in a cluster where another class prevails."
    )
    assert second.startswith("- Warning: the clusters of epoch 125 contradict")
    assert "25.0 %" in second
    assert not empty
    assert what_to_do.startswith("What to do: train longer before the first clustering")


def test_a_look_before_training_is_warned_of_without_a_word_of_guidance():
    """Which of the clusterings guide is the schedule's; what contradicts the labels is poor."""
    text = warning_text([metrics(0, against_labels=0.5), metrics(50, against_labels=0.02)])
    assert text.startswith("- Warning: the clusters of epoch 000 contradict the labels: 50.0 %")
    assert "guid" not in text.splitlines()[0]
    assert "epoch 050" not in text


def test_collapsed_features_are_said():
    healthy, unknown = metrics(50, mean_cosine=0.98), metrics(75)
    assert warning_text([healthy, unknown]) == ""
    text = warning_text([healthy, metrics(100, mean_cosine=0.99995)])
    assert text == (
        "- Warning: at epoch 100, the representation has collapsed: the mean cosine similarity of "
        "two images is 0.999950, so clusters mean little; try a smaller training.lr or "
        "pseudo.pseudo_loss_weight.\n"
    )
    both = warning_text([metrics(100, mean_cosine=1.0, against_labels=0.5)])
    assert both.count("- Warning") == 2
    assert "What to do" in both


@pytest.mark.parametrize("name", ["r.md", "r.html"])
def test_the_verdict_of_a_collapsed_run_says_so(tmp_path, name):
    text = json.dumps(metrics(50, against_labels=0.02, mean_cosine=0.99999))
    (tmp_path / "50.json").write_text(text)
    done = in_process("report", "--run", "x", "--output", name, "50.json", cwd=tmp_path)
    assert done.returncode == 0
    assert "Verdict: the representation has collapsed: " in (tmp_path / name).read_text()


@pytest.mark.parametrize("name", ["r.md", "r.html"])
def test_the_report_has_one_line_of_verdict_about_the_last_epoch(tmp_path, name):
    for epoch, share in ((50, 0.4), (75, 0.02)):
        text = json.dumps(metrics(epoch, against_labels=share))
        (tmp_path / f"{epoch}.json").write_text(text)
    files = ("50.json", "75.json")
    done = in_process("report", "--run", "x", "--output", name, *files, cwd=tmp_path)
    assert done.returncode == 0
    said = (tmp_path / name).read_text()
    assert said.count("Verdict: ") == 1
    assert "Verdict: the clusters agree with 98 % of the labels." in said


def test_table_is_sorted_aligned_markdown():
    lines = markdown_table([metrics(100), metrics(50)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    assert tuple(cells[0]) == COLUMNS
    assert all(set(cell) == {"-", ":"} and cell.endswith(":") for cell in cells[1])
    assert [line[0] for line in cells[2:]] == ["050", "100"]


def test_read_metrics(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(metrics()))
    assert read_metrics(path) == metrics()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"\xff",
        b"{}",
        json.dumps(metrics(epoch=None)).encode(),
        json.dumps(metrics(inductive={})).encode(),
        json.dumps({k: v for k, v in metrics().items() if k != "n_classes"}).encode(),
        json.dumps(metrics(n_classes="ten")).encode(),
        json.dumps(metrics(against_labels=1.5)).encode(),
        json.dumps(metrics(agreement=-1.5)).encode(),
        json.dumps(metrics(classifier={"transductive": {}})).encode(),
        json.dumps(metrics(classifier=None)).encode(),
        json.dumps(metrics(ari="high")).encode(),
        json.dumps(metrics(k_range=[10])).encode(),
    ],
)
def test_not_a_metrics_file(tmp_path, content):
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.json: not a metrics file \("):
        read_metrics(tmp_path / "m.json")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json: not a metrics file \(.*No such file"):
        read_metrics(tmp_path / "absent.json")
