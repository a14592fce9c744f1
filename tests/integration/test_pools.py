"""The same cells on every backend: same bits, and a killed worker costs no other run."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from integration.pool_jobs import cell, endless, finish, is_gone, kept, until, worker_of

from stabilitykit.lab.sweep.backends import Ended, Job, backend_config, make_pool
from stabilitykit.lab.sweep.run_cell import run_cell

# In one process, which tells each story once for all the tests that look at it.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pools")]

BACKENDS = {
    "local": ("local", ()),
    "ray": ("ray", ()),
    "submitit": ("slurm", ("executor=local",)),
    "slurm": ("slurm", ("sbatch.partition=long", "minutes=90", "cpus=3")),
}


@dataclass
class Story:
    """What happened on a backend."""

    backend: str
    folder: Path
    ended: dict[str, Ended]
    """By the name of the cell's folder."""
    ended_at_close: bool
    """Whether the worker of a run that was going on had ended with its pool."""


@pytest.fixture(scope="module")
def alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The cells as this process trains them."""
    folder = tmp_path_factory.mktemp("alone")
    names = [f"cell-{seed}" for seed in range(3)]
    for seed, name in enumerate(names):
        run_cell(Job(cell(corpus, f"seed={seed}", "model.embedding.dropout=0.1"), folder / name))
    return {name: kept(folder / name) for name in names}


@pytest.fixture(scope="module")
def fake_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Slurm's commands, which start jobs on this machine."""
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(__file__).with_name('fake_slurm')}:{os.environ['PATH']}")
        patch.setenv("FAKE_SLURM", str(folder))
        yield folder


@pytest.fixture(scope="module", params=list(BACKENDS))
def story(
    request: pytest.FixtureRequest, corpus: Path, fake_slurm: Path, tmp_path_factory: pytest.TempPathFactory
) -> Story:
    """Three cells and an endless one on two workers; the endless one's is killed, another's is closed."""
    backend, folder = request.param, tmp_path_factory.mktemp("runs")
    kind, options = BACKENDS[backend]
    cells = [cell(corpus, f"seed={seed}", "model.embedding.dropout=0.1") for seed in range(3)]
    pool = make_pool(backend_config(kind, 2, None, options), [spec.trainer for spec in cells])
    try:
        assert pool.slots == 2
        pool.submit(Job(endless(corpus), folder / "killed"))
        first = finish(pool, [Job(cells[0], folder / "cell-0")]) if backend == "local" else []
        os.kill(
            until(lambda: (folder / "killed" / "progress.json").exists() and worker_of(folder / "killed")), 9
        )
        rest = [Job(spec, folder / f"cell-{seed}") for seed, spec in enumerate(cells)][len(first) :]
        ended = [*first, *finish(pool, rest, running=1)]
        pool.submit(Job(endless(corpus), folder / "closed"))
        last = until(lambda: (folder / "closed" / "progress.json").exists() and worker_of(folder / "closed"))
    finally:
        pool.close()
    gone = bool(until(lambda: is_gone(last)))
    return Story(backend, folder, {each.job.folder.name: each for each in ended}, gone)


def test_results_are_this_processes_own_bit_for_bit(story: Story, alone: dict[str, Any]) -> None:
    assert {name: kept(story.folder / name) for name in alone} == alone
    for name, (document, _) in alone.items():
        assert story.ended[name].result.to_json() | {"seconds": 0} == document | {"seconds": 0}


def test_a_killed_worker_costs_its_own_job_alone(story: Story) -> None:
    assert set(story.ended) == {"killed", "cell-0", "cell-1", "cell-2"}
    killed = story.ended.pop("killed")
    assert killed.result is None
    assert killed.lost
    assert not (story.folder / "killed" / "result.json").exists()
    assert all(each.result and not each.lost for each in story.ended.values())
    story.ended["killed"] = killed


def test_closing_ends_what_runs(story: Story) -> None:
    assert story.ended_at_close
    assert not (story.folder / "closed" / "result.json").exists()


def test_slurm_is_asked_for_what_was_typed(fake_slurm: Path, story: Story) -> None:
    if story.backend != "slurm":
        pytest.skip("submits no batch script")
    script = (fake_slurm / "1" / "script").read_text()
    for line in ("partition=long", "time=90", "cpus-per-task=3", "no-requeue", "job-name=stabilitykit"):
        assert f"#SBATCH --{line}\n" in script


@pytest.fixture
def driver(corpus: Path, tmp_path: Path, fake_slurm: Path) -> Iterator[Any]:
    """Starts another process that trains an endless cell, and returns it with its worker's number."""
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str, *options: str) -> tuple[subprocess.Popen[bytes], int]:
        script = Path(__file__).with_name("pool_jobs.py")
        paths = [str(script.parents[1]), str(script.parents[2]), os.environ.get("PYTHONPATH", "")]
        command = [sys.executable, str(script), kind, str(corpus), str(tmp_path / "run"), *options]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        started.append(subprocess.Popen(command, env=environment))
        run = tmp_path / "run"
        return started[-1], until(lambda: (run / "progress.json").exists() and worker_of(run))

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_a_killed_driver_leaves_no_worker(driver: Any, kind: str) -> None:
    process, worker = driver(kind)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert until(lambda: is_gone(worker))


def test_jobs_of_a_killed_driver_are_cancelled_by_the_next(driver: Any, corpus: Path, tmp_path: Path) -> None:
    process, worker = driver("slurm")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not is_gone(worker), "Slurm's jobs outlast who asked for them"
    spec = cell(corpus)
    pool = make_pool(backend_config("slurm", 1), [spec.trainer])
    pool.submit(Job(spec, tmp_path / "next"))
    try:
        assert until(lambda: is_gone(worker))
    finally:
        pool.close()


def test_a_running_cluster_is_used_and_left_alone(
    corpus: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    script = (
        "import ray, sys; "
        "print(ray.init(address='local', num_cpus=1, include_dashboard=False, logging_level='ERROR',"
        " object_store_memory=100 * 2**20).address_info['gcs_address'], flush=True); sys.stdin.read()"
    )
    cluster = subprocess.Popen(
        [sys.executable, "-c", script],
        # Ray reads what this process does about tokens only once.
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = until(cluster.stdout.readline).strip()
        spec = cell(corpus, "seed=1", "model.embedding.dropout=0.1")
        for name in ("once", "again"):
            pool = make_pool(backend_config("ray", None, address), [spec.trainer])
            assert pool.slots == 1
            (ended,) = finish(pool, [Job(spec, tmp_path / name)])
            pool.close()
            assert not ended.lost
            assert kept(tmp_path / name) == alone["cell-1"]
    finally:
        cluster.communicate("")
    assert cluster.returncode == 0
