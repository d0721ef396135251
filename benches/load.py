#!/usr/bin/env python3
"""An image of 865 MB on its way to nodes with containerd, beside the cluster's own tool: `make bench ONLY=load`.

needs: testbed
The bed's kind cluster (two nodes) beside `kind load docker-image`; and, where STACK_BENCH_MINIKUBE names a profile of a real
minikube that runs, that one beside `minikube image load`. Both tools bring the image to all nodes. The bytes are those that
went through the socket of the host's engine in a round of its own, which is not timed.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import threading
import time

from side_by_side import STACK, folder, run

ROUNDS = int(os.environ.get("ROUNDS", "3"))
NAME = "t-bench-load"
# Half of it compresses as programs do, so that neither way is favoured.
DOCKERFILE = """FROM debian:bookworm-slim
RUN head -c 240000000 /dev/urandom > /data1
RUN head -c 240000000 /dev/urandom > /data2
RUN cp -r /usr/lib /data3 && cp -r /usr/lib /data4
RUN cp -r /usr /data5
COPY change /
"""
STACK_FILE = """[stack]
name = "{name}"
[cluster]
driver = "{driver}"
profile = "{profile}"
start = false
[image.app]
context = "app"
"""


def fresh(place):
    """Another file of 1 MB."""
    (place / "app/change").write_bytes(os.urandom(1_000_000))


def stack(place, *args, env=None):
    """Runs `stack`: the seconds of the load, the wall time, its memory in bytes, and its events."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        [STACK, *args, "--format", "json"], cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    text = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begun
    if child.returncode:
        raise SystemExit(text + child.stderr.read())
    events = [json.loads(line) for line in text.splitlines()]
    ended = [event for event in events if event.get("step") == "load:app" and event["event"] == "step-finished"]
    return ended[0]["seconds"] if ended else 0.0, wall, used.ru_maxrss * 1024, events


def image():
    """The newest image of the stack, under the name that is deployed."""
    listed = run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{NAME}-app").split()
    return next(name for name in listed if ":k-" not in name)


class Counter:
    """A socket that passes everything to the engine and counts the bytes on their way there."""

    def __init__(self, place):
        self.path, self.count = str(place / "counted.sock"), 0
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()

        def serve():
            while True:
                client, _ = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(address)
                threading.Thread(target=self.copy, args=(client, engine, True), daemon=True).start()
                threading.Thread(target=self.copy, args=(engine, client, False), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()

    def copy(self, source, target, counted):
        # Either side may close first; the run says by its exit code whether that was right.
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                self.count += len(piece) if counted else 0
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def env(self):
        return {**os.environ, "DOCKER_HOST": f"unix://{self.path}"}


def row(what, ours, theirs, goal, sent="", memory=""):
    ratio = f"{ours / theirs:.3f}" if theirs else ""
    peer = f"{theirs:.2f} s" if theirs else ""
    print(f"| {what} | {ours:.3f} s | {peer} | {ratio} | {goal} | {sent} | {memory} |", flush=True)


def measured(driver, profile, peer, first_goal, forget):
    """`peer(name)` has the tool load an image; `forget()` takes what was loaded from the nodes."""
    print(f"\n| {driver} | stack | {' '.join(peer('NAME'))} | ratio | goal | bytes | memory |\n|---|---|---|---|---|---|---|")

    def loaded_by_peer():
        begun = time.perf_counter()
        run(*peer(image()))
        return time.perf_counter() - begun

    with folder("load") as place:
        (place / "app").mkdir()
        (place / "app/Dockerfile").write_text(DOCKERFILE)
        (place / "stack.toml").write_text(STACK_FILE.format(name=NAME, driver=driver, profile=profile))
        fresh(place)
        try:
            stack(place, "apply", "build:app")
            theirs = loaded_by_peer()
            forget()
            first, _, memory, _ = stack(place, "apply", "load:app")
            row("first load", first, theirs, first_goal, "", f"{memory / 1e6:.0f} MB")

            ours, peers, memories, whole = [], [], [], set()
            for _ in range(ROUNDS):
                fresh(place)
                stack(place, "apply", "build:app")
                peers.append(loaded_by_peer())
                fresh(place)
                stack(place, "apply", "build:app")
                seconds, _, memory, events = stack(place, "apply", "load:app")
                ours.append(seconds)
                memories.append(memory)
                whole |= {event["why_whole"] for event in events if event.get("why_whole")}
            fresh(place)
            stack(place, "apply", "build:app")
            counter = Counter(place)
            stack(place, "apply", "load:app", env=counter.env())
            row("1 MB changed", min(ours), min(peers), "<= 0.067", f"{counter.count / 1e6:.1f} MB", f"{max(memories) / 1e6:.0f} MB")
            if whole:
                print(f"\nThe whole image was sent: {whole}\n")

            walls = [stack(place, "apply", "load:app")[1] for _ in range(max(ROUNDS, 5))]
            row("nothing changed, all of `stack apply`", min(walls), 0, "<= 0.15 s (one node)", "", "")
        finally:
            subprocess.run([STACK, "destroy", "--yes", "--images"], cwd=place, check=True, capture_output=True)


def forget_on(nodes):
    """Removes the bench's images from nodes that are containers, and what was only theirs."""

    def forget():
        for node in nodes:
            # Every name that leads to one of the bench's images, those included that Kubernetes and `kind load` give.
            script = (
                f"ctr -n k8s.io images ls | awk '/{NAME}|^import-/ {{print $3}}' | sort -u | while read -r digest; do"
                " ctr -n k8s.io images ls | awk -v d=$digest '$3 == d {print $1}'; done"
                " | xargs -r ctr -n k8s.io images rm --sync"
            )
            run("docker", "exec", node, "sh", "-c", script)

    return forget


def main():
    print("### An image of 865 MB into nodes with containerd")
    profile = os.environ["STACK_TESTBED_PROFILE"]
    nodes = run("kind", "get", "nodes", "--name", profile).split()
    measured(
        "kind", profile, lambda name: ["kind", "load", "docker-image", "--name", profile, name], "<= 1.0", forget_on(nodes)
    )
    if real := os.environ.get("STACK_BENCH_MINIKUBE"):
        measured(
            "minikube", real, lambda name: ["minikube", "image", "load", "--profile", real, name], "<= 0.5", forget_on([real])
        )


main()
