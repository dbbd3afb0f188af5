#!/usr/bin/env python
"""A real Slurm of one node on this machine, for tests: controller, node and authentication.

All files are in one folder, and all daemons listen on 127.0.0.1 only, so an installed Slurm is not
affected. The node has two partitions, `cpu` and `gpu`, and two simulated GPUs (/dev/null and
/dev/zero), which Slurm counts and assigns like real ones.

    python tests/slurm/one_node.py start /tmp/slurm      # prints variables to export
    python tests/slurm/one_node.py stop /tmp/slurm
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol")
INSTALL = "apt-get install --no-install-recommends slurm-wlm munge"
GPUS = ("/dev/null", "/dev/zero")
START_SECONDS = 30.0
_CGROUPS = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpuset", "freezer", "memory")

# No database: jobs are known for an hour after their end, and listed in jobcomp.log.
CONFIGURATION = """\
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
FirstJobId={first_job}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/munge.socket,cred_expire=5
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType={proctrack}
TaskPlugin={task}
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
MailProg=/bin/true
JobRequeue=1
KillWait=10
MinJobAge=3600
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.log
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=DEFAULT Nodes={host} MaxTime=INFINITE State=UP DefMemPerCPU=100
PartitionName=cpu Default=YES MaxCPUsPerNode={cpu_partition}
PartitionName=gpu
"""


def missing() -> str | None:
    """The reason why Slurm cannot be started here, with a remedy; None if it can."""
    search = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=search) is None]
    if absent:
        return f"{', '.join(absent)} not found; install Slurm with: {INSTALL}"
    if os.geteuid() != 0:
        return "a Slurm for tests is started by root only (in a container, say)"
    return None


def can_confine() -> bool:
    """Whether cgroups (version 1) can confine jobs to their processors and memory here."""
    folders = [_CGROUPS / name for name in _CONTROLLERS]
    return all(f.is_dir() and os.access(f / "cgroup.procs", os.W_OK) for f in folders)


class OneNode:
    """A Slurm in a folder, as a context manager.

    Parameters
    ----------
    folder : Path
        Folder for all state. An earlier Slurm in this folder, running or dead, is replaced.
    cpus, memory_mb : int
        Resources that the node claims. The partition `cpu` lacks one processor for each GPU.
    confined : bool
        Hold jobs to their processors and memory by cgroups; ``cpus`` must then be real.
    """

    def __init__(self, folder: Path, cpus: int, memory_mb: int, confined: bool = False):
        self.folder = Path(folder).resolve()
        self._cpus = cpus
        self._memory_mb = memory_mb
        self._confined = confined

    def __enter__(self) -> OneNode:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """This process's environment, with variables to use this Slurm."""
        path = f"{self.folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
        return {**os.environ, "SLURM_CONF": f"{self.folder}/slurm.conf", "PATH": path}

    def start(self) -> None:
        """Start the daemons and wait until the node takes jobs.

        Raises
        ------
        RuntimeError
            If it does not do so within half a minute; the message has the end of the logs.
        """
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._configure()
        munge = self.folder / "munge"
        paths = {"key-file": "key", "socket": "munge.socket", "pid-file": "munged.pid"}
        paths |= {"log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={munge / name}" for option, name in paths.items()]
        self._run("munged", "--force", *options)
        self._run("slurmctld", "-i")
        self._run("slurmd")
        deadline = time.monotonic() + START_SECONDS
        while self._output("sinfo", "-h", "-N", "-p", "cpu", "-o", "%T").strip() != "idle":
            if time.monotonic() > deadline:
                logs = [log.read_text()[-2000:] for log in self.folder.glob("*.log")]
                self.stop()
                raise RuntimeError("Slurm does not start:\n" + "\n".join(logs))
            time.sleep(0.2)

    def stop(self) -> None:
        """End all jobs and daemons of the folder, if there are any."""
        if self._alive(self.folder / "slurmctld.pid", "slurmctld"):
            self._output("scancel", "--user", "root")
            deadline = time.monotonic() + START_SECONDS
            while self._output("squeue", "-h") and time.monotonic() < deadline:
                time.sleep(0.2)
        for file in ("slurmd.pid", "slurmctld.pid", "munge/munged.pid"):
            program = Path(file).stem
            pid = self._alive(self.folder / file, program)
            if pid:
                os.kill(pid, signal.SIGTERM)
            while pid and self._alive(self.folder / file, program):
                time.sleep(0.1)

    def jobs(self) -> list[dict[str, str]]:
        """Slurm's own record of every job: ``scontrol show job``, with GPU numbers."""
        lines = self._output("scontrol", "show", "job", "-d", "-o").splitlines()
        records = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        return [record for record in records if "JobId" in record]

    def control(self, *arguments: str) -> None:
        """``scontrol`` or ``scancel`` on this Slurm; an error if it refuses."""
        subprocess.run(arguments, check=True, env=self.environment())

    def _configure(self) -> None:
        for name in ("munge", "controller", "node", "bin"):
            (self.folder / name).mkdir(parents=True, mode=0o755)
        key = self.folder / "munge/key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        controller_port, node_port = _free_ports(2)
        text = CONFIGURATION.format(
            folder=self.folder,
            host=socket.gethostname().split(".")[0],
            controller_port=controller_port,
            node_port=node_port,
            # Job numbers name cgroups, which this Slurm may share with another one.
            first_job=random.randrange(1, 60000) * 1000,
            proctrack="proctrack/cgroup" if self._confined else "proctrack/pgid",
            task="task/cgroup,task/affinity" if self._confined else "task/none",
            cpus=self._cpus,
            # Like two nodes: clusterings never take processors from trainings.
            cpu_partition=max(1, self._cpus - len(GPUS)),
            memory_mb=self._memory_mb,
            gpus=len(GPUS),
        )
        (self.folder / "slurm.conf").write_text(text)
        devices = [f"Name=gpu File={device}\n" for device in GPUS]
        (self.folder / "gres.conf").write_text("AutoDetect=off\n" + "".join(devices))
        if self._confined:
            (self.folder / "cgroup.conf").write_text(
                f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={_CGROUPS}\n"
                "ConstrainCores=yes\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\n"
            )
        # Snakemake in a job starts srun without SLURM_CONF, as for an installed Slurm.
        srun = self.folder / "bin/srun"
        real = shutil.which("srun")
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {real} "$@"\n')
        srun.chmod(0o755)

    def _run(self, *command: str) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, env=self.environment(), timeout=30, **quiet)

    def _output(self, *command: str) -> str:
        return subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, check=False, timeout=60
        ).stdout

    @staticmethod
    def _alive(pid_file: Path, program: str) -> int | None:
        """Process number in a file, if that process still runs the program."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            if Path(f"/proc/{pid}/comm").read_text().strip() == program:
                return pid
        return None


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def main() -> None:
    """Start or stop from a shell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpus", type=int, default=64, help="processors that it pretends to have")
    parser.add_argument("--memory-mb", type=int, default=500_000, help="and memory")
    arguments = parser.parse_args()
    reason = missing()
    if reason is not None:
        sys.exit(reason)
    node = OneNode(arguments.folder, arguments.cpus, arguments.memory_mb)
    if arguments.action == "stop":
        node.stop()
        return
    node.start()
    print(f"export SLURM_CONF={node.folder}/slurm.conf PATH={node.folder}/bin:$PATH")


if __name__ == "__main__":
    main()
