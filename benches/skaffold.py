#!/usr/bin/env python3
"""`stack apply` beside `skaffold run` on the bed's kind cluster: `make bench ONLY=skaffold`.

needs: testbed
Two images on a base of 650 MB and two charts, with the `skaffold` that is on PATH; without one, there is nothing to compare.
First apply, nothing changed, and one small file of one image changed until its pods are ready, in turns.
"""

import json
import os
import pathlib
import shutil
import subprocess
import time

from side_by_side import STACK, folder, run

ROUNDS = int(os.environ.get("ROUNDS", "3"))
PROFILE = os.environ["STACK_TESTBED_PROFILE"]
CONTEXT = f"kind-{PROFILE}"
BASE = "t-bench-base:1"
APPS = ["front", "back"]
BASE_DOCKERFILE = """FROM busybox:stable AS tools
FROM debian:bookworm-slim
COPY --from=tools /bin/busybox /bin/httpd
RUN head -c 200000000 /dev/urandom > /data && cp -r /usr /data2
"""
DOCKERFILE = f"""FROM {BASE}
COPY www /www
CMD ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"]
"""
CHART = """apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}"}
spec:
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
          imagePullPolicy: IfNotPresent
          readinessProbe: {httpGet: {path: /page, port: 8080}, periodSeconds: 1}
"""


def project(place, tool):
    """The same two images and charts; the names tell the tools apart."""
    for app in APPS:
        (place / app / "www").mkdir(parents=True)
        (place / app / "www/page").write_text("1\n")
        (place / app / "Dockerfile").write_text(DOCKERFILE)
        (place / app / "chart/templates").mkdir(parents=True)
        (place / app / "chart/Chart.yaml").write_text(f"apiVersion: v2\nname: {app}\nversion: 0.1.0\n")
        (place / app / "chart/templates/all.yaml").write_text(CHART)
    namespace = f"t-bench-{tool}"
    if tool == "stack":
        text = f'[stack]\nname = "{namespace}"\n[cluster]\ndriver = "kind"\nprofile = "{PROFILE}"\nnamespace = "{namespace}"\n'
        for app in APPS:
            text += f'[image.{app}]\ncontext = "{app}"\ndockerfile = "{app}/Dockerfile"\n[chart.{app}]\npath = "{app}/chart"\nrelease = "{app}"\n'
            text += f'[chart.{app}.set]\n"image.repository" = "${{image.{app}.repository}}"\n"image.tag" = "${{image.{app}.tag}}"\n'
        (place / "stack.toml").write_text(text)
        return
    artifacts = "".join(f"    - {{image: {namespace}-{app}, context: {app}}}\n" for app in APPS)
    releases = "".join(
        f"      - name: {app}\n        chartPath: {app}/chart\n        namespace: {namespace}\n        createNamespace: true\n"
        f"        setValueTemplates:\n          image.repository: '{{{{.IMAGE_REPO_t_bench_skaffold_{app}}}}}'\n"
        f"          image.tag: '{{{{.IMAGE_TAG_t_bench_skaffold_{app}}}}}'\n"
        for app in APPS
    )
    (place / "skaffold.yaml").write_text(
        "apiVersion: skaffold/v4beta11\nkind: Config\nmetadata: {name: bench}\n"
        "build:\n  tagPolicy: {sha256: {}}\n  local: {push: false, useBuildkit: false, concurrency: 0}\n"
        f"  artifacts:\n{artifacts}deploy:\n  helm:\n    releases:\n{releases}"
    )


def stack(place):
    begun = time.perf_counter()
    text = run(STACK, "apply", "--format", "json", cwd=place)
    wall = time.perf_counter() - begun
    events = [json.loads(line) for line in text.splitlines()]
    loads = [event["seconds"] for event in events if event["event"] == "step-finished" and event["step"].startswith("load:")]
    return wall, max(loads)


def skaffold(place):
    begun = time.perf_counter()
    run("skaffold", "run", "--kube-context", CONTEXT, "--interactive=false", "--update-check=false", cwd=place)
    return time.perf_counter() - begun


def row(what, ours, theirs, goal, load=""):
    print(f"| {what} | {ours:.2f} s | {theirs:.2f} s | {ours / theirs:.3f} | {goal} | {load} |", flush=True)


def change(place, count):
    (place / "front/www/page").write_text(f"{count}\n")


def measured(ours, theirs):
    # The peer comes second: it sends whole images, so layers that are on the nodes by then help only `stack`.
    mine = stack(ours)[0]
    row("first apply", mine, skaffold(theirs), "<= 0.8")
    mine, peers = [], []
    for _ in range(ROUNDS):
        peers.append(skaffold(theirs))
        mine.append(stack(ours)[0])
    row("nothing changed", min(mine), min(peers), "<= 0.04")
    mine, peers, loads = [], [], []
    for count in range(2, 2 + ROUNDS):
        change(theirs, count)
        peers.append(skaffold(theirs))
        change(ours, count)
        wall, load = stack(ours)
        mine.append(wall)
        loads.append(load)
    row("one small file changed, until ready", min(mine), min(peers), "<= 0.3", f"{min(loads):.2f} s, goal 1 s")


def main():
    if not shutil.which("skaffold"):
        print("There is no `skaffold` on PATH: nothing to compare with.")
        return
    version = run("skaffold", "version").strip()
    print(f"### Beside Skaffold {version}: two images on a base of 650 MB, two charts\n")
    print("| | stack | skaffold | ratio | goal | the load |\n|---|---|---|---|---|---|", flush=True)
    with folder("skaffold") as place:
        (place / "base").mkdir()
        (place / "base/Dockerfile").write_text(BASE_DOCKERFILE)
        run("docker", "build", "--tag", BASE, place / "base", env={**os.environ, "DOCKER_BUILDKIT": "0"})
        for tool in ["stack", "skaffold"]:
            project(place / tool, tool)
        try:
            measured(place / "stack", place / "skaffold")
        finally:
            subprocess.run([STACK, "destroy", "--yes", "--images"], cwd=place / "stack", capture_output=True)
            clean = ["skaffold", "delete", "--kube-context", CONTEXT]
            subprocess.run(clean, cwd=place / "skaffold", capture_output=True)
            subprocess.run(["kubectl", "--context", CONTEXT, "delete", "namespace", "t-bench-skaffold", "--ignore-not-found"], capture_output=True)
            names = run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split()
            own = [name for name in names if name.startswith(("t-bench-skaffold-", BASE))]
            subprocess.run(["docker", "rmi", "--force", *own], capture_output=True)


main()
