#!/usr/bin/env python3
"""Large stacks, beside the peers: `make bench ONLY=scale`.

Nothing to do and cold beside ninja, nothing to do beside turbo, and drawing a graph of 10,000 steps.
"""

import json
import os
import subprocess
import sys

from side_by_side import STACK, folder, measure, npm, run, show, table

TURBO = "2.11.11"
MANY = 10_000
ROUNDS = int(os.environ.get("ROUNDS", "5"))


def tasks(place, count, body):
    """A stack file of `count` tasks; `body` gives the lines of one."""
    text = '[stack]\nname = "bench"\n' + "".join(f"\n[task.t{i}]\n{body(i)}\n" for i in range(count))
    (place / "stack.toml").write_text(text)


def ninja_file(place, count, command, edge):
    text = f"rule r\n  command = {command}\n" + "".join(edge(i) + "\n" for i in range(count))
    (place / "build.ninja").write_text(text)


def apply(place):
    return [STACK, "-f", place / "stack.toml", "apply"]


def ninja(place):
    return ["ninja", "-C", place]


def nothing_to_do_beside_ninja():
    kinds = {
        "inputs": 'run = "true"\ninputs = ["in/{i}"]',
        "inputs and outputs": 'run = ["cp", "in/{i}", "out/{i}"]\ninputs = ["in/{i}"]\noutputs = ["out/{i}"]',
    }
    with folder("ninja") as place:
        commands = {}
        for kind in [*kinds, "ninja"]:
            mine = place / kind.replace(" ", "-")
            for name in ["in", "out"]:
                (mine / name).mkdir(parents=True)
            for i in range(MANY):
                (mine / f"in/{i}").write_text(f"{i}\n")
            if kind == "ninja":
                ninja_file(mine, MANY, "cp $in $out", lambda i: f"build out/{i}: r in/{i}")
                commands[kind] = ninja(mine)
            else:
                tasks(mine, MANY, lambda i, kind=kind: kinds[kind].replace("{i}", str(i)))
                commands[f"stack apply, {kind}"] = apply(mine)
            run(*list(commands.values())[-1])
        table(f"{MANY} tasks with one input file each, nothing to do", measure(commands, ROUNDS), "ninja", 1.0)


def cold_beside_ninja():
    with folder("cold") as place:
        tasks(place, MANY, lambda i: 'run = "true"')
        ninja_file(place, MANY, "true", lambda i: f"build t{i}: r")
        jobs = os.cpu_count() + 2

        def before(name):
            subprocess.run(["rm", "-rf", place / ".stack", place / ".ninja_log"], check=True)

        contestants = {
            "stack apply": [*apply(place), "-j", jobs],
            "ninja": [*ninja(place), "-j", jobs],
        }
        seen = measure(contestants, min(ROUNDS, 3), before)
        table(f"{MANY} tasks of `true`, cold, {jobs} at a time", seen, "ninja", 1.3)


def nothing_to_do_beside_turbo():
    packages, files = 500, 20
    turbo = npm("turbo", TURBO) / "turbo"
    with folder("turbo") as place:
        (place / "package.json").write_text(
            json.dumps({"name": "bench", "private": True, "packageManager": "npm@10.0.0", "workspaces": ["packages/*"]})
        )
        (place / "package-lock.json").write_text(
            json.dumps({"name": "bench", "lockfileVersion": 3, "requires": True, "packages": {"": {"name": "bench"}}})
        )
        (place / "turbo.json").write_text(json.dumps({"tasks": {"build": {"inputs": ["src/**"], "outputs": []}}}))
        (place / ".gitignore").write_text("node_modules\n.turbo\n.stack\n")
        for i in range(packages):
            source = place / f"packages/p{i}/src"
            source.mkdir(parents=True)
            manifest = {"name": f"p{i}", "version": "1.0.0", "scripts": {"build": "true"}}
            (source.parent / "package.json").write_text(json.dumps(manifest))
            for j in range(files):
                (source / f"f{j}.txt").write_text(f"{i} {j}\n" * 20)
        tasks(place, packages, lambda i: f'run = "true"\ninputs = ["packages/p{i}/src/**"]')
        for words in [("init", "-q"), ("add", "."), ("-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b")]:
            run("git", "-C", place, *words)
        environment = {**os.environ, "TURBO_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1", "CI": "1"}

        def turbo_run():
            return run(turbo, "run", "build", "--output-logs=none", cwd=place, env=environment)

        turbo_run()
        run(*apply(place))
        if f"{packages} cached" not in turbo_run():
            sys.exit("turbo did not find its cache")
        seen = measure({"stack apply": apply(place), "turbo run": turbo_run}, ROUNDS)
        table(f"{packages} tasks over {packages * files} files, nothing to do", seen, "turbo run", 1 / 3)


def graph():
    with folder("graph") as place:
        # In layers, each step needing one nearby and one far behind it.
        def body(i):
            needs = sorted({i - 100 - i % 7, i - 100, i // 3} & set(range(max(i - 100, 0) + 1))) if i >= 107 else []
            return 'run = "true"\nneeds = ' + json.dumps([f"task.t{need}" for need in needs])

        tasks(place, MANY, body)
        forms = {form: [STACK, "-f", place / "stack.toml", "graph", "--format", form] for form in ["dot", "json", "tree"]}
        seen = measure(forms, ROUNDS)
        table(f"stack graph of {MANY} steps", seen)
        worst = max(seen[form].best for form in ["dot", "json"])
        print(f"\ngoal: dot and json in at most 500 ms: {'met' if worst <= 0.5 else 'MISSED'} ({show(worst)})")
        lines = len(run(*forms["tree"]).splitlines())
        print(f"the tree has {lines} lines")


def main():
    print("## Large stacks")
    print(f"\n{run(STACK, '--version').strip()}, ninja {run('ninja', '--version').strip()}, turbo {TURBO}, {os.cpu_count()} processors")
    chosen = sys.argv[1:]
    for part in [nothing_to_do_beside_ninja, cold_beside_ninja, nothing_to_do_beside_turbo, graph]:
        if not chosen or part.__name__ in chosen:
            part()


if __name__ == "__main__":
    main()
