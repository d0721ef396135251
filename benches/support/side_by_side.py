"""What the scripts here share: the program, fresh folders, and contestants that take turns."""

import contextlib
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

STACK = os.environ.get("STACK_BENCH_BIN", "stack")
CACHE = pathlib.Path(os.environ.get("STACK_BENCH_CACHE", tempfile.gettempdir()))


@contextlib.contextmanager
def folder(name):
    """A folder of its own that goes away."""
    path = pathlib.Path(tempfile.mkdtemp(prefix=f"stack-bench-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run(*command, code=0, **options):
    """Runs a command that has to end with `code`; returns what it printed. Its output is shown when it does not."""
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **options}
    done = subprocess.run([str(word) for word in command], **options)
    if done.returncode != code:
        sys.exit(f"{command} ended with {done.returncode}\n{done.stdout or ''}{done.stderr or ''}")
    return done.stdout or ""


def npm(package, version):
    """The folder of an npm package's commands, fetched once into the cache."""
    place = CACHE / f"{package}-{version}"
    if not (place / "node_modules").is_dir():
        place.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", place, f"{package}@{version}")
    return place / "node_modules" / ".bin"


class Times:
    """Seconds, wall and processor, of one contestant."""

    def __init__(self):
        self.wall, self.cpu = [], []

    best = property(lambda self: min(self.wall))
    median = property(lambda self: statistics.median(self.wall))
    best_cpu = property(lambda self: min(self.cpu))


def measure(contestants, rounds=5, before=None):
    """Lets the contestants (name -> what to call, or the words of a command) take turns; returns name -> Times.

    `before(name)`, when given, prepares each turn and is not measured.
    """
    seen = {name: Times() for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            if before:
                before(name)
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            contestant() if callable(contestant) else run(*contestant)
            seen[name].wall.append(time.perf_counter() - start)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
            seen[name].cpu.append(cpu)
    return seen


def show(seconds):
    """A time for people."""
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def table(title, seen, peer=None, goal=None):
    """Prints one table: each contestant's best and median wall time, its processor time, and its ratio to `peer`'s best.

    `goal`, when given, is the most that the ratio of the first contestant may be.
    """
    print(f"\n### {title}\n")
    print("| who | best | median | processor | of the peer's |")
    print("|---|---|---|---|---|")
    for name, times in seen.items():
        ratio = f"{times.best / seen[peer].best:.2f}" if peer else ""
        print(f"| {name} | {show(times.best)} | {show(times.median)} | {show(times.best_cpu)} | {ratio} |")
    if peer and goal is not None:
        first = next(iter(seen))
        ratio = seen[first].best / seen[peer].best
        print(f"\ngoal: at most {goal:.2f} of {peer}: {'met' if ratio <= goal else 'MISSED'} ({ratio:.2f})")
    sys.stdout.flush()
