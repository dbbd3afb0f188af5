"""Commands in messages are of the same runs as the call that shows them."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from gcdflow.planning.this_call import command, remember, starts_jobs
from snakemake.cli import get_argument_parser
from snakemake.settings.types import DeploymentMethod

TARGET = "runs/photos/gallery.html"


def workflow(**changes: object) -> SimpleNamespace:
    """What is asked of Snakemake's workflow object."""
    configuration = {"configfiles": (), "config_args": None, **changes.pop("settings", {})}
    usual = {
        "is_main_process": True,
        "executor_plugin": object(),
        "dryrun": False,
        "touch": False,
        "execution_settings": SimpleNamespace(keep_going=False),
        "config_settings": SimpleNamespace(**configuration),
        "overwrite_workdir": None,
        "main_snakefile": str(Path("Snakefile").resolve()),
        "deployment_settings": SimpleNamespace(deployment_method=set()),
    }
    return SimpleNamespace(**{**usual, **changes})


def again(of: SimpleNamespace, *arguments: str) -> str:
    remember(of, ["snakemake", *arguments])
    return command(TARGET, "--forcerun", "dataset")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GCDFLOW_CALL", "of another call")
    return tmp_path


def test_without_options_it_is_what_the_readme_says():
    expected = f"snakemake --cores all {TARGET} --forcerun dataset"
    assert again(workflow()) == again(workflow(), "--cores", "4", TARGET) == expected
    inner = workflow(main_snakefile=str(Path("workflow/Snakefile").resolve()))
    assert again(inner) == expected


def test_configurations_folder_and_snakefile_are_repeated(folder: Path):
    files = (folder / "config/config.yaml", folder / "my runs.yaml", Path("/elsewhere/c.yaml"))
    said = again(workflow(settings={"configfiles": files, "config_args": ["a={b: 1}", "c=2"]}))
    parsed = get_argument_parser().parse_args(shlex.split(said)[1:])
    assert parsed.targets == {TARGET} or parsed.targets == [TARGET]
    names = ["config/config.yaml", "my runs.yaml", "/elsewhere/c.yaml"]
    assert list(map(str, parsed.configfile)) == names
    assert parsed.config == ["a={b: 1}", "c=2"]
    assert parsed.directory is None
    there = workflow(overwrite_workdir=Path("work"), settings={"configfiles": files[:1]})
    parsed = get_argument_parser().parse_args(shlex.split(again(there))[1:])
    assert (str(parsed.directory), str(parsed.snakefile)) == ("work", str(folder / "Snakefile"))
    assert list(parsed.configfile) == [folder / "config/config.yaml"]
    other = again(workflow(main_snakefile="/elsewhere/Snakefile"))
    assert "--snakefile /elsewhere/Snakefile" in other


@pytest.mark.parametrize("words", [["--profile", "profiles/slurm"], ["--profile=profiles/slurm"]])
def test_a_profile_decides_of_the_cores(words):
    expected = f"snakemake --profile profiles/slurm {TARGET} --forcerun dataset"
    assert again(workflow(), TARGET, *words) == expected


def test_the_snakemake_of_a_job_repeats_the_call_that_submitted_it(monkeypatch):
    said = again(workflow(), TARGET, "--profile", "profiles/slurm")
    of_job = workflow(is_main_process=False, overwrite_workdir="/work")
    assert again(of_job, "--mode", "remote", "--cores", "1") == said
    monkeypatch.delenv("GCDFLOW_CALL")  # the job did not inherit it: then its own
    assert "--cores all" in again(of_job, "--mode", "remote", "--cores", "1")


def test_environments_of_stages_are_repeated():
    methods = {DeploymentMethod.CONDA, DeploymentMethod.ENV_MODULES}
    said = again(workflow(deployment_settings=SimpleNamespace(deployment_method=methods)))
    assert said == f"snakemake --cores all {TARGET} --sdm conda env-modules --forcerun dataset"


def test_only_calls_that_run_all_jobs_need_images():
    assert starts_jobs(workflow())
    assert not starts_jobs(workflow(is_main_process=False))  # of a job, on a cluster
    assert not starts_jobs(workflow(executor_plugin=None))  # --summary, --unlock …
    assert not starts_jobs(workflow(dryrun=True))
    assert not starts_jobs(workflow(touch=True))
    assert not starts_jobs(workflow(execution_settings=SimpleNamespace(keep_going=True)))
