"""Where a sweep runs: what is typed, what a run takes, what workers answer."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stabilitykit.errors import ConfigError, MissingExtraError, RunFolderError
from stabilitykit.lab.probe import build_spec
from stabilitykit.lab.probe.spec import TrainerConfig
from stabilitykit.lab.sweep.backends import Job, backend_config, factory, make_pool, needs, remote
from stabilitykit.lab.sweep.backends.needs import Needs, share_of_gpus, usable_gpus
from stabilitykit.lab.sweep.backends.orphans import cancel_jobs_of_the_dead, make_driver_folder
from stabilitykit.lab.sweep.backends.ray_pool import RayPool
from stabilitykit.lab.sweep.backends.remote import Answer, result_of, work
from stabilitykit.lab.sweep.grid import CellResult, write_result

SPEC = build_spec("pre_norm")


def test_what_is_typed_becomes_a_configuration() -> None:
    config = backend_config("slurm", 8, None, ["gpus=1", "sbatch.partition=long", "sbatch.account=me"])
    assert (config.kind, config.workers, config.gpus) == ("slurm", 8, 1)
    assert config.sbatch == {"partition": "long", "account": "me"}
    assert backend_config().kind == "local"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "dask"}, r"^backend.kind: got 'dask'; accepted: local, ray, slurm"),
        ({"workers": 0}, r"^backend.workers: got 0; must be greater than 0"),
        ({"options": ["gpu=1"]}, r"^backend.gpu: not a known field; did you mean 'gpus'"),
        ({"options": ["gpus"]}, r"^--backend-option: got 'gpus'; must be a field and a value, as in gpus=1"),
        ({"options": ["workers=3"]}, r"^--backend-option: workers has an option of its own: --workers"),
        ({"address": "here:1"}, r"^backend.address: got here:1; needs the backend ray, not local"),
        (
            {"kind": "ray", "options": ["minutes=5"]},
            r"^backend.minutes: got 5; needs the backend slurm, not ray",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        backend_config(**given)


def test_a_run_takes_a_cpu_a_thread_and_a_gpu_a_device_if_it_asks_for_gpus() -> None:
    trainers = [TrainerConfig(threads=3), TrainerConfig(devices=2, accelerator="gpu"), TrainerConfig()]
    assert Needs.of(trainers) == Needs(3, 2)
    assert Needs.of(trainers[::2]) == Needs(3, 0)
    assert Needs(3, 2).room(12, 4) == 2
    assert Needs(3, 2).room(12, 40) == 4
    assert Needs(3, 0).room(2, 0) == 0


def test_workers_share_no_gpu_while_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert [share_of_gpus(worker, 1) for worker in range(5)] == [("4",), ("5",), ("6",), ("7",), ("4",)]
    assert [share_of_gpus(worker, 2) for worker in range(2)] == [("4", "5"), ("6", "7")]
    assert share_of_gpus(0, 0) == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,-1,2")
    assert usable_gpus() == ("1",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert usable_gpus() == ()


def test_by_default_there_are_as_many_workers_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "usable_cpus", lambda: 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    for trainer, options, wanted in (
        (TrainerConfig(threads=2), (), 3),
        (TrainerConfig(threads=9), (), 1),
        (TrainerConfig(accelerator="gpu"), (), 2),
        (TrainerConfig(), ("cpus=6",), 1),
    ):
        pool = make_pool(backend_config(options=options), [trainer])
        assert pool.slots == wanted
        pool.close()
    with pytest.raises(ConfigError, match=r"a run takes 3 GPUs; this machine has 2"):
        make_pool(backend_config(), [TrainerConfig(accelerator="gpu", devices=3)])


@pytest.mark.parametrize(("kind", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_backend_that_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    monkeypatch.setattr(factory, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=rf"needs the package {package}: pip install 'stabilitykit\[{kind}\]'"
    ):
        make_pool(backend_config(kind), [SPEC.trainer])


def test_planning_for_this_machine_loads_neither_torch_nor_ray_nor_submitit() -> None:
    code = (
        "import sys, stabilitykit.lab.sweep.backends as b; from stabilitykit.lab.probe import build_spec;"
        " b.make_pool(b.backend_config(), [build_spec('pre_norm').trainer]).close();"
        " print(*{'torch', 'lightning', 'ray', 'submitit'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_without_slurm_its_backend_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"^backend.executor: got slurm; no srun on this machine"):
        make_pool(backend_config("slurm"), [SPEC.trainer])


def test_ray_is_not_started_where_a_run_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(
        ConfigError, match=r"2 runs at a time take 2 CPUs and 2 GPUs; this machine has \d+ and 1"
    ):
        RayPool(Needs(1, 1), workers=2)


def test_a_worker_that_does_not_share_the_disk_says_so(tmp_path: Path) -> None:
    here = Path.cwd()
    for folder, directory in ((tmp_path / "no" / "cell", here), (tmp_path / "cell", tmp_path / "none")):
        answer = work(Job(SPEC, folder), str(directory))
        assert "is not there on the worker" in answer.error
        with pytest.raises(RunFolderError, match="a file system that all workers share"):
            result_of(answer, Job(SPEC, folder))


def test_a_result_that_never_turns_up_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "_PATIENCE", 0.3)
    job, result = Job(SPEC, tmp_path / "cell"), CellResult("stable", "it held")
    with pytest.raises(RunFolderError, match="has finished it, but it is not here"):
        result_of(Answer(result), job)
    write_result(job.folder, result)
    assert result_of(Answer(result), job) == result
    assert result_of(Answer(None), Job(SPEC, tmp_path / "interrupted")) is None


def test_only_jobs_of_drivers_that_are_gone_are_cancelled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = tmp_path / "scancel"
    command.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/cancelled\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = make_driver_folder(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: ended.pid)
        dead = make_driver_folder(tmp_path)
    elsewhere = tmp_path / "other-5"
    elsewhere.mkdir()
    for folder in (mine, dead, elsewhere):
        (folder / f"{folder.stat().st_ino}_submitted.pkl").touch()
    number = dead.stat().st_ino
    cancel_jobs_of_the_dead(tmp_path)
    assert (tmp_path / "cancelled").read_text().split() == [str(number)]
    assert mine.exists()
    assert elsewhere.exists()
    assert not dead.exists()
    assert needs.usable_cpus() >= 1


def test_a_folder_that_only_looks_like_a_drivers_is_left_alone(tmp_path: Path) -> None:
    host = socket.gethostname()
    precious = tmp_path / f"{host}-results" / "data.txt"
    numbered = tmp_path / f"{host}-999999999" / "12_submitted.pkl"
    marked = tmp_path / f"{host}-999999998" / "stabilitykit-driver.json"
    for file in (precious, numbered, marked):
        file.parent.mkdir()
        file.write_text("{}")
    (tmp_path / f"{host}-999999997").symlink_to(precious.parent)
    cancel_jobs_of_the_dead(tmp_path)
    assert all(file.exists() for file in (precious, numbered, marked))


def test_what_somebody_keeps_in_a_drivers_folder_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 999999999)
    folder = make_driver_folder(tmp_path)
    for name in ("7_submitted.pkl", "7_0_log.err", "7_0_result.pkl", "mine.txt", "model_submitted.pkl"):
        (folder / name).touch()
    cancel_jobs_of_the_dead(tmp_path)
    assert {each.name for each in folder.iterdir()} == {
        "mine.txt",
        "model_submitted.pkl",
        "stabilitykit-driver.json",
    }
