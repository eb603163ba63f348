"""What submitit asks of Slurm, on this machine.

``sbatch`` starts the jobs of a file one after the other and refuses options that Slurm's does not have, ``srun`` runs
what it is given, ``sacct`` says how the jobs are. :func:`install` puts all three in a folder.
"""

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

JOBS = "SLURM_STAND_IN_JOBS"
#: Options of sbatch (its manual, Slurm 24.05) that submitit can give.
OPTIONS = {
    *("account", "array", "comment", "constraint", "cpus-per-gpu", "cpus-per-task"),
    *("dependency", "error", "exclude", "exclusive", "gpus-per-node", "gpus-per-task"),
    *("gres", "job-name", "mail-type", "mail-user", "mem", "mem-per-cpu"),
    *("mem-per-gpu", "nodelist", "nodes", "ntasks-per-node", "open-mode", "output"),
    *("partition", "qos", "signal", "time", "wckey"),
}


def install(folder):
    """The three programs."""
    folder.mkdir()
    for name in ("sbatch", "srun", "sacct"):
        words = shlex.join([sys.executable, __file__, name])
        (folder / name).write_text(f'#!/bin/sh\n{JOBS}={shlex.quote(str(folder))}/jobs exec {words} "$@"\n')
        (folder / name).chmod(0o755)


def sbatch(file):
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", Path(file).read_text(), re.MULTILINE))
    unknown = sorted(options.keys() - OPTIONS)
    if unknown:
        sys.exit(f"sbatch: unrecognized option '--{unknown[0]}'")
    jobs = Path(os.environ[JOBS])
    jobs.mkdir(exist_ok=True)
    number = 1 + len(list(jobs.glob("*.sh")))
    (jobs / f"{number}.sh").write_bytes(Path(file).read_bytes())
    first, last = map(int, re.match(r"(\d+)-(\d+)", options.get("array", "0-0")).groups())
    names = [f"{number}_{task}" for task in range(first, last + 1)] if "array" in options else [f"{number}"]
    for name in names:
        (jobs / f"{name}.state").write_text("PENDING")
    # Away from the one that submits, as jobs are.
    command = [sys.executable, __file__, "start", *names]
    subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"Submitted batch job {number}")


def start(*names):
    jobs = Path(os.environ[JOBS])
    for name in names:
        number, _, task = name.partition("_")
        about = {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here"}
        if task:
            about |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": task}
        (jobs / f"{name}.state").write_text("RUNNING")
        done = subprocess.run(["bash", jobs / f"{number}.sh"], env={**os.environ, **about}, check=False)
        (jobs / f"{name}.state").write_text("FAILED" if done.returncode else "COMPLETED")


def srun(*words):
    rest, options = list(words), {}
    while rest[0].startswith("--"):
        name = rest.pop(0)
        options[name] = None if name == "--unbuffered" else rest.pop(0)
    job, task = os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_ARRAY_TASK_ID", "")
    streams = []
    for name in ("--output", "--error"):
        path = options[name]
        for sign, value in {"%A": job, "%a": task, "%j": job, "%t": "0"}.items():
            path = path.replace(sign, value)
        streams.append(open(path, "ab"))  # noqa: SIM115  the process ends soon
    about = {"SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    done = subprocess.run(rest, stdout=streams[0], stderr=streams[1], env={**os.environ, **about}, check=False)
    sys.exit(done.returncode)


def sacct(*words):
    print("JobID|State|NodeList")
    for asked in (word for before, word in itertools.pairwise(words) if before == "-j"):
        for path in sorted(Path(os.environ[JOBS]).glob(f"{asked}*.state")):
            print(f"{path.stem}|{path.read_text()}|here")


if __name__ == "__main__":
    {each.__name__: each for each in (sbatch, start, srun, sacct)}[sys.argv[1]](*sys.argv[2:])
