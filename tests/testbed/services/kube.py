"""A very small Kubernetes client: requests, and a mirror of a collection that survives restarts of the API server.

Knows nothing about what the objects mean. Standard library only, as it runs on a bare Debian.
"""

import http.client
import json
import ssl
import sys
import threading
import time
import urllib.parse


def log(text):
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)


class Api:
    """The API server at `server` (https://HOST:PORT), spoken to with the certificate files in the folder `pki`."""

    def __init__(self, server, pki):
        self.address = urllib.parse.urlsplit(server)
        self.tls = ssl.create_default_context(cafile=f"{pki}/ca.crt")
        self.tls.load_cert_chain(f"{pki}/admin.crt", f"{pki}/admin.key")

    def connect(self, timeout):
        return http.client.HTTPSConnection(
            self.address.hostname, self.address.port, context=self.tls, timeout=timeout
        )

    def request(self, method, path, body=None):
        """(status, decoded answer). Raises OSError or HTTPException when the server cannot be reached."""
        connection = self.connect(timeout=10)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()


class Mirror(threading.Thread):
    """Keeps `objects`, {(namespace, name): object}, equal to a collection. `changed` is called after each change.

    While the API server is away, what was last known stays.
    """

    def __init__(self, api, path, changed=lambda: None):
        super().__init__(daemon=True, name=path)
        self.api, self.path, self.changed = api, path, changed
        self.objects = {}
        self.synced = False

    def run(self):
        away = False
        while True:
            try:
                version = self.list()
                if away:
                    log(f"{self.path}: the API server is back")
                    away = False
                while version:
                    version = self.watch(version)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if not away:
                    log(f"{self.path}: {error!r}; trying again")
                    away = True
                time.sleep(0.5)

    def list(self):
        status, answer = self.api.request("GET", self.path)
        if status != 200:
            raise OSError(f"list answers {status}")
        self.objects = {key(item): item for item in answer["items"]}
        self.synced = True
        self.changed()
        return answer["metadata"]["resourceVersion"]

    def watch(self, version):
        """Follows from `version` until the server ends it; the version to go on from, or None to list again."""
        connection = self.api.connect(timeout=330)
        try:
            connection.request(
                "GET", f"{self.path}?watch=1&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion={version}"
            )
            answer = connection.getresponse()
            if answer.status != 200:
                return None
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return None
                item = event["object"]
                version = item["metadata"]["resourceVersion"]
                if event["type"] == "BOOKMARK":
                    continue
                if event["type"] == "DELETED":
                    self.objects.pop(key(item), None)
                else:
                    self.objects[key(item)] = item
                self.changed()
            return version
        finally:
            connection.close()


def key(item):
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def arguments(*names):
    """The command line as NAME=VALUE words; every one of `names` must be there."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    missing = [name for name in names if name not in given]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}")
    return given
