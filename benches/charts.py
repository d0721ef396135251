#!/usr/bin/env python3
"""100 charts of 5 objects on the cluster: `make bench ONLY=charts`.

needs: testbed

Their deployments are scaled to nothing: what is measured is Helm, the API server and `stack`, not how fast a node with two
cores starts 100 containers.
"""

import os
import time

from side_by_side import STACK, folder, run

CHARTS = int(os.environ.get("CHARTS", "100"))
ROUNDS = int(os.environ.get("ROUNDS", "7"))
NAMESPACE = f"t-charts-bench-{os.getpid()}"

OBJECTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {greeting: {{ .Values.greeting | quote }}}
---
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}}
stringData: {token: {{ .Values.token | quote }}}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80, protocol: TCP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: 0
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      serviceAccountName: {{ .Release.Name }}
      containers: [{name: main, image: "busybox:stable", envFrom: [{configMapRef: {name: {{ .Release.Name }}}}]}]
"""


def write(place):
    """A stack of charts, each in a folder of its own."""
    profile = os.environ["STACK_TESTBED_PROFILE"]
    text = '[stack]\nname = "charts-bench"\n'
    text += f'[cluster]\ndriver = "minikube"\nprofile = "{profile}"\nstart = false\nnamespace = "{NAMESPACE}"\n'
    for i in range(CHARTS):
        chart = place / f"charts/c{i}"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: c{i}\nversion: 0.1.0\n")
        (chart / "values.yaml").write_text("greeting: hello\ntoken: none\n")
        (chart / "templates/all.yaml").write_text(OBJECTS)
        text += f'[chart.c{i}]\npath = "charts/c{i}"\nset = {{ greeting = "hello {i}" }}\n'
    (place / "stack.toml").write_text(text)


def timed(place, *words, expect):
    """Seconds of a run that has to say `expect`."""
    begun = time.perf_counter()
    said = run(STACK, "-f", place / "stack.toml", *words, stderr=None)
    took = time.perf_counter() - begun
    assert expect in said, said
    return took


def main():
    with folder("charts") as place:
        write(place)
        rows = []
        try:
            rows.append(("first apply", [timed(place, "apply", expect=f"done:{CHARTS} ")]))
            nothing = f"done:0 skipped:{CHARTS + 1}"
            rows.append(("apply, nothing to do", [timed(place, "apply", expect=nothing) for _ in range(ROUNDS)]))
            rows.append(("plan, nothing to do", [timed(place, "plan", expect="run:0") for _ in range(ROUNDS)]))
            changed = []
            for at in range(min(3, ROUNDS)):
                values = place / f"charts/c{at}/values.yaml"
                values.write_text(values.read_text().replace("hello", "changed").replace("none", "other"))
                changed.append(timed(place, "apply", expect=f"done:1 skipped:{CHARTS}"))
            rows.append(("apply, one chart changed", changed))
        finally:
            rows.append(("destroy", [timed(place, "destroy", "--yes", expect="failed:0")]))
        print(f"### {CHARTS} charts of 5 objects in one namespace\n\n| run | best | median |\n| --- | --- | --- |")
        for name, times in rows:
            times.sort()
            print(f"| {name} | {times[0]:.2f} s | {times[len(times) // 2]:.2f} s |")


main()
