#!/usr/bin/env python3
"""needs: testbed

Nothing changed: how long an apply of the todo stack takes with everything looked at, and how long a build context of
100,000 files takes beside `git status` and `find | xargs b3sum`, in the same run. What is ignored is not walked, and
one changed file costs what that file costs. What only reads the stack file is here too.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STACK = os.environ["STACK_BENCH_BIN"]
FILES = int(os.environ.get("STACK_BENCH_FILES", "100000"))
RUNS = int(os.environ.get("STACK_BENCH_RUNS", "7"))


def timed(command, cwd, env=None, runs=RUNS, before=lambda: None):
    """The best and the middle wall time in milliseconds, and the most memory in MiB; `before` each run is not measured."""
    times, most = [], 0
    for _ in range(runs):
        before()
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        times.append((time.monotonic() - begun) * 1000)
        if status:
            sys.exit(f"{command} failed: {said.decode()}")
        most = max(most, usage.ru_maxrss / 1024)
    times.sort()
    return times[0], times[len(times) // 2], most


def row(work, result, note=""):
    best, middle, memory = result
    digits = 1 if middle < 10 else 0
    print(f"| {work} | {best:.{digits}f} ms | {middle:.{digits}f} ms | {memory:.0f} MB | {note} |", flush=True)


def todo(root):
    """The todo stack, applied again."""
    checkout = Path(__file__).resolve().parent.parent
    for part in ["app", "dockerfiles", "charts"]:
        shutil.copytree(checkout / part, root / part)
    text = (checkout / "todo-stack.toml").read_text()
    (root / "todo-stack.toml").write_text(
        text.replace('name = "todo"', 'name = "bench-todo"')
        .replace('namespace = "todo"', 'namespace = "bench-todo"')
        .replace('driver = "minikube"', 'driver = "kind"')
    )
    env = {**os.environ, "STACK_PROFILE": os.environ["STACK_TESTBED_PROFILE"]}
    for args in [["--version"], ["validate"], ["graph"]]:
        row(f"`stack {args[0]}`, the todo stack", timed([STACK, *args], root, env, runs=6 * RUNS))
    run = lambda *args: subprocess.run([STACK, *args], cwd=root, env=env, check=True, stdout=subprocess.DEVNULL)
    try:
        run("apply")
        row("`stack apply`, the todo stack, nothing changed", timed([STACK, "apply"], root, env, runs=3 * RUNS))
    finally:
        run("destroy", "--yes", "--images")


def tree(root):
    """So many small files in folders of 100, with a little of what is ignored."""
    context = root / "context"
    for number in range(FILES):
        folder = context / f"d{number // 10000}" / f"e{number // 100 % 100}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"f{number % 100}.txt").write_bytes(f"{number}\n".encode() * 250)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (context / ".dockerignore").write_text("node_modules\n.git\n")
    (root / "stack.toml").write_text('[stack]\nname = "bench-files"\n[image.files]\ncontext = "context"\nload = "none"\n')
    return context


def files(root):
    context = tree(root)
    git = lambda *args: subprocess.run(["git", *args], cwd=context, check=True, stdout=subprocess.DEVNULL)
    git("init", "--quiet")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all")
    git("status")
    subprocess.run([STACK, "apply"], cwd=root, check=True, stdout=subprocess.DEVNULL)
    try:
        subprocess.run([STACK, "apply"], cwd=root, check=True, stdout=subprocess.DEVNULL)
        row(f"`git status`, {FILES} files", timed(["git", "status"], context))
        row(f"`stack apply`, {FILES} files, nothing changed", timed([STACK, "apply"], root))
        if shutil.which("b3sum"):
            hashing = "find . -type f -not -path './.git/*' -print0 | xargs -0 b3sum"
            row("`find \\| xargs b3sum`", timed(["sh", "-c", hashing], context, runs=3))
        changed(root, context)
        # Copies of the cache's absence: each run is the first.
        store, away = root / ".stack", root / "away"
        store.rename(away)
        cold = []
        for _ in range(3):
            cold.append(timed([STACK, "plan"], root, runs=1))
            shutil.rmtree(store, ignore_errors=True)
        row("`stack plan`, no digest known", min(cold))
        away.rename(store)
        for number in range(FILES * 2 // 1000):
            folder = context / "node_modules" / f"m{number}"
            folder.mkdir(parents=True)
            for file in range(1000):
                (folder / f"f{file}").touch()
        row(f"`stack apply`, {FILES * 2} ignored files beside them", timed([STACK, "apply"], root))
    finally:
        subprocess.run([STACK, "destroy", "--yes", "--images"], cwd=root, stdout=subprocess.DEVNULL)


def changed(root, context):
    """One file changed since the last apply: a small one, then one of 64 MB beside `b3sum` of it."""
    small, large = context / "d0" / "e0" / "f0.txt", context / "d0" / "large"
    was = small.read_bytes()

    def edit():
        with small.open("ab") as file:
            file.write(b"changed\n")

    def rewrite():
        # Piece by piece: what this process holds would count as the memory of those that it starts.
        with large.open("wb") as file:
            for _ in range(64):
                file.write(os.urandom(1 << 20))

    row("`stack plan`, one file of a few KB changed", timed([STACK, "plan"], root, before=edit))
    small.write_bytes(was)
    row("`stack plan`, one file of 64 MB is new", timed([STACK, "plan"], root, before=rewrite))
    if shutil.which("b3sum"):
        row("`b3sum` of that file", timed(["b3sum", large], root))
    large.unlink()


def main():
    print("| work | best | middle | memory | |\n|---|---|---|---|---|")
    for part in [todo, files]:
        with tempfile.TemporaryDirectory(prefix="stack-bench-") as folder:
            part(Path(folder))


main()
