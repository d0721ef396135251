"""The provisioner behind the storage class `standard`: a folder for each claim, and its removal with the claim.

Usage: storage.py server=https://IP:PORT pki=FOLDER volumes=FOLDER
"""

import http.client
import os
import shutil
import threading

from kube import Api, Mirror, arguments, log

CLASS = "standard"
PROVISIONER = "k8s.io/minikube-hostpath"  # as minikube names its own
EVERY = 15.0  # seconds between two looks without an event


class Provisioner:
    def __init__(self, api, root):
        self.api, self.root = api, root
        self.wake = threading.Event()
        self.claims = Mirror(api, "/api/v1/persistentvolumeclaims", self.wake.set)
        self.volumes = Mirror(api, "/api/v1/persistentvolumes", self.wake.set)

    def run(self):
        os.makedirs(self.root, exist_ok=True)
        self.claims.start()
        self.volumes.start()
        log(f"volumes of class {CLASS} go to {self.root}")
        while True:
            self.wake.wait(EVERY)
            self.wake.clear()
            if not (self.claims.synced and self.volumes.synced):
                continue
            try:
                for claim in list(self.claims.objects.values()):
                    self.provide(claim)
                for volume in list(self.volumes.objects.values()):
                    self.release(volume)
            except (OSError, http.client.HTTPException) as error:
                log(f"{error!r}; trying again")

    def provide(self, claim):
        meta, spec = claim["metadata"], claim["spec"]
        waiting = claim["status"].get("phase") == "Pending" and not spec.get("volumeName")
        if spec.get("storageClassName") != CLASS or not waiting or "deletionTimestamp" in meta:
            return
        name = f"pvc-{meta['uid']}"
        if ("", name) in self.volumes.objects:
            return
        path = os.path.join(self.root, f"{meta['namespace']}_{meta['name']}_{meta['uid']}")
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o777)  # whatever user the pod's process has
        status, answer = self.api.request(
            "POST",
            "/api/v1/persistentvolumes",
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
                "spec": {
                    "accessModes": spec["accessModes"],
                    "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                    "claimRef": {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "namespace": meta["namespace"],
                        "name": meta["name"],
                        "uid": meta["uid"],
                    },
                    "hostPath": {"path": path, "type": "Directory"},
                    "persistentVolumeReclaimPolicy": "Delete",
                    "storageClassName": CLASS,
                    "volumeMode": spec.get("volumeMode", "Filesystem"),
                },
            },
        )
        log(f"claim {meta['namespace']}/{meta['name']}: {name}" if status in (201, 409) else f"{name}: {answer}")

    def release(self, volume):
        meta, spec = volume["metadata"], volume["spec"]
        ours = (meta.get("annotations") or {}).get("pv.kubernetes.io/provisioned-by") == PROVISIONER
        released = volume["status"].get("phase") in ("Released", "Failed")
        if not ours or not released or spec["persistentVolumeReclaimPolicy"] != "Delete" or "deletionTimestamp" in meta:
            return
        path = os.path.realpath(spec["hostPath"]["path"])
        if os.path.dirname(path) == os.path.realpath(self.root):
            shutil.rmtree(path, ignore_errors=True)
        status, _ = self.api.request("DELETE", f"/api/v1/persistentvolumes/{meta['name']}")
        log(f"{meta['name']}: removed ({status})")


if __name__ == "__main__":
    given = arguments("server", "pki", "volumes")
    Provisioner(Api(given["server"], given["pki"]), given["volumes"]).run()
