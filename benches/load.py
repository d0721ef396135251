#!/usr/bin/env python3
"""An image of 865 MB on its way to a node, beside `docker save | docker load`: `make bench ONLY=load`.

needs: testbed
Three rounds of a change of 1 MB, one first load, nothing changed, and a change that is built in the node beside `docker
build` there. The bytes on the wire are those that left through the node's network device, not what anybody says of them.
"""

import json
import os
import pathlib
import subprocess
import time

from side_by_side import STACK, folder, run

ROUNDS = int(os.environ.get("ROUNDS", "3"))
NAME = "t-bench-load"
PROFILE = os.environ["STACK_TESTBED_PROFILE"]
NODE = {
    **os.environ,
    "DOCKER_HOST": os.environ["STACK_TESTBED_NODE_DOCKER"],
    "DOCKER_TLS_VERIFY": "1",
    "DOCKER_CERT_PATH": os.environ["STACK_TESTBED_NODE_CERTS"],
}
DEVICE = pathlib.Path("/sys/class/net/stb0/statistics/tx_bytes")
# Half of it compresses as programs do, so that neither way is favoured.
DOCKERFILE = """FROM debian:bookworm-slim
RUN head -c 240000000 /dev/urandom > /data1
RUN head -c 240000000 /dev/urandom > /data2
RUN cp -r /usr/lib /data3 && cp -r /usr/lib /data4
RUN cp -r /usr /data5
COPY change /
"""
STACK_FILE = f"""[stack]
name = "{NAME}"
[cluster]
driver = "minikube"
profile = "{PROFILE}"
start = false
[image.app]
context = "app"
"""


def wire():
    return int(DEVICE.read_text())


def fresh(place):
    """Another file of 1 MB."""
    (place / "app/change").write_bytes(os.urandom(1_000_000))


def stack(place, *args):
    """Runs `stack`; returns its events, the wall time, the seconds of the load, and its memory in bytes."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        [STACK, *args, "--format", "json"], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    text = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begun
    if child.returncode:
        raise SystemExit(text + child.stderr.read())
    events = [json.loads(line) for line in text.splitlines()]
    ended = [event for event in events if event.get("step") == "load:app" and event["event"] == "step-finished"]
    return events, wall, ended[0]["seconds"] if ended else 0.0, used.ru_maxrss * 1024


def names():
    listed = run("docker", "images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}", f"{NAME}-app").splitlines()
    return [line.split(" ") for line in listed if ":k-" not in line]


def peer(name):
    """`docker save | docker load` into the node; the seconds it took."""
    begun = time.perf_counter()
    save = subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE)
    subprocess.run(["docker", "load", "--quiet"], stdin=save.stdout, env=NODE, check=True, stdout=subprocess.DEVNULL)
    if save.wait():
        raise SystemExit("docker save failed")
    return time.perf_counter() - begun


def forget_on_node():
    ids = run("docker", "images", "--quiet", "--no-trunc", f"{NAME}-app", env=NODE).split()
    if ids:
        run("docker", "rmi", "--force", *sorted(set(ids)), env=NODE)


def row(what, ours, theirs, goal, wire_bytes="", memory=""):
    ratio = ours / theirs if theirs else 0
    print(f"| {what} | {ours:.3f} s | {f'{theirs:.2f} s' if theirs else ''} | {f'{ratio:.3f}' if theirs else ''} | {goal} | {wire_bytes} | {memory} |")


def main():
    print("### An image of 865 MB into a node\n")
    print("| | stack | save \\| load | ratio | goal | bytes on the wire | memory |\n|---|---|---|---|---|---|---|")
    with folder("load") as place:
        (place / "app").mkdir()
        (place / "app/Dockerfile").write_text(DOCKERFILE)
        (place / "stack.toml").write_text(STACK_FILE)
        fresh(place)
        try:
            measured(place)
            in_the_node(place)
        finally:
            subprocess.run([STACK, "destroy", "--yes", "--images"], cwd=place, check=True, capture_output=True)


def measured(place):
    stack(place, "apply", "build:app")
    name, size = names()[0]
    theirs = peer(name)
    forget_on_node()
    before = wire()
    _, _, first, memory = stack(place, "apply", "load:app")
    row(f"first load ({size})", first, theirs, "<= 1.05", f"{(wire() - before) / 1e6:.0f} MB", f"{memory / 1e6:.0f} MB")

    ours, theirs, sent, memories = [], [], [], []
    for _ in range(ROUNDS):
        fresh(place)
        stack(place, "apply", "build:app")
        theirs.append(peer(names()[0][0]))
        fresh(place)
        stack(place, "apply", "build:app")
        before = wire()
        _, _, seconds, memory = stack(place, "apply", "load:app")
        sent.append(wire() - before)
        ours.append(seconds)
        memories.append(memory)
    row("1 MB changed", min(ours), min(theirs), "<= 0.050", f"{min(sent) / 1e6:.3f} MB", f"{max(memories) / 1e6:.0f} MB")

    walls = []
    for _ in range(max(ROUNDS, 5)):
        _, wall, seconds, memory = stack(place, "apply", "load:app")
        walls.append((seconds, wall, memory))
    seconds, wall, memory = min(walls)
    row("nothing changed, the load", seconds, 0, "<= 0.050 s", "", f"{memory / 1e6:.0f} MB")
    row("nothing changed, all of `stack apply`", wall, 0, "", "", "")


def in_the_node(place):
    """With `load = "direct"`, a change of 1 MB, and the same with `docker build` alone."""
    (place / "stack.toml").write_text(STACK_FILE + 'load = "direct"\n')
    alone = f"{NAME}-alone"

    def build():
        begun = time.perf_counter()
        # The test bed's command has no buildx, so this is the builder of old, which is no slower at a COPY.
        subprocess.run(["docker", "build", "--quiet", "--tag", alone, "app"], cwd=place, env=NODE, check=True, capture_output=True)
        return time.perf_counter() - begun

    try:
        stack(place, "apply")
        build()
        ours, theirs, memories = [], [], []
        for _ in range(max(ROUNDS, 5)):
            fresh(place)
            theirs.append(build())
            fresh(place)
            _, wall, _, memory = stack(place, "apply")
            ours.append(wall)
            memories.append(memory)
        row("`direct`, 1 MB changed, beside `docker build`", min(ours), min(theirs), "<= 1.0", "", f"{max(memories) / 1e6:.0f} MB")
    finally:
        subprocess.run(["docker", "rmi", "--force", alone], env=NODE, capture_output=True)


main()
