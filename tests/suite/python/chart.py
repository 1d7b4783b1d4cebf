"""Renders the Helm chart with sets of values and checks the result. Prints the result as JSON.

usage: chart.py CHART FOLDER, where FOLDER has one YAML file for each set:

values    values of the chart
release   name of the release, `calls` if it is left out
cluster   objects that are in the cluster already
has       parts of objects. A rendered object must have each part; null means that a field is absent
has_not   parts that no rendered object may have
notes     a text that the notes must have
fails     a text that the error must have. The chart must not render then

Each rendered object must be valid for the schemas of the oldest supported, a middle and the newest version of
Kubernetes. No API server can be installed here. So a small HTTP server takes its place, which gives `cluster` to the
template function `lookup`.
"""

import contextlib
import functools
import http.server
import json
import pathlib
import sys
import threading

import helm_python as helm
import kubernetes_validate
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

chart, folder = sys.argv[1:]
KUBERNETES = ["1.27", "1.32", "1.37"]
# Kinds of other projects. The schemas of Kubernetes do not contain them.
FOREIGN = {"ScaledObject": ScaledObject, "PodMonitor": PodMonitor, "PrometheusRule": PrometheusRule}
FIELDS = {"values", "release", "cluster", "has", "has_not", "notes", "fails"}


class ApiServer(http.server.BaseHTTPRequestHandler):
    """Answers the requests of `lookup` for a StatefulSet."""

    objects = {}

    def log_message(self, *_):
        pass

    def do_GET(self):
        stateful_sets = {"name": "statefulsets", "namespaced": True, "kind": "StatefulSet", "verbs": ["get"]}
        resources = {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [stateful_sets]}
        path = self.path.split("?")[0]
        answer = resources if path == "/apis/apps/v1" else self.objects.get(path)
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer or missing).encode())


@contextlib.contextmanager
def cluster(objects):
    """The access to a cluster that has `objects`."""
    path = "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"
    handler = type("Handler", (ApiServer,), {"objects": {path.format(**one["metadata"]): one for one in objects}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    access = {
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {}}],
    }
    try:
        with helm.Config(kubeconfig_content=json.dumps(access)) as config:
            yield config
    finally:
        server.shutdown()
        server.server_close()


def render(loaded, config, wanted):
    """The rendered objects, and the notes."""
    names = {"name": wanted.get("release", "calls"), "namespace": "calls"}
    rendered = config.render(loaded, wanted["values"], **names)
    notes = next(text for path, text in rendered.items() if path.endswith("NOTES.txt"))
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one], notes


def has(actual, part):
    """Whether `actual` has `part`: the fields of an object, or for each item of a list an item that has it."""
    if isinstance(part, dict):
        return isinstance(actual, dict) and all(has(actual.get(name), value) for name, value in part.items())
    if isinstance(part, list):
        return isinstance(actual, list) and all(any(has(one, item) for one in actual) for item in part)
    return type(actual) is type(part) and actual == part


@functools.cache
def invalid(text):
    """Why an object is invalid, one text for each reason. Most sets have most objects in common."""
    one = json.loads(text)
    if one["kind"] in FOREIGN:
        model = FOREIGN[one["kind"]].model_validate(one)
        known = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
        return [] if has(known, one) else [f"{one['kind']} has fields that its project does not know"]
    reasons = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            reasons.append(f"{one['kind']} is invalid in Kubernetes {version}: {error.message}")
    return reasons


def judge(loaded, config, wanted):
    """The rendered objects, and what is wrong with them."""
    unknown = set(wanted) - FIELDS
    if unknown or not {"has", "fails"} & set(wanted):
        return [], [f"unknown fields {unknown}, or neither `has` nor `fails`"]
    fails = wanted.get("fails")
    try:
        objects, notes = render(loaded, config, wanted)
    except helm.HelmError as error:
        return [], [] if fails and fails in str(error) else [f"it fails: {error}"]
    if fails:
        return objects, [f"it renders, and should fail with: {fails}"]
    wrong = [reason for one in objects for reason in invalid(json.dumps(one))]
    for part in wanted["has"]:
        if not any(has(one, part) for one in objects):
            alike = [one for one in objects if one["kind"] == part.get("kind")]
            wrong.append(f"no object has {json.dumps(part)}, but there are {json.dumps(alike)}")
    for part in wanted.get("has_not", []):
        wrong += [f"an object has {json.dumps(part)}" for one in objects if has(one, part)]
    if wanted.get("notes", "") not in notes:
        wrong.append(f"the notes are: {notes}")
    linted = helm.lint(chart, wanted["values"], strict=True, kube_version=f"v{KUBERNETES[-1]}.0")
    return objects, wrong + linted["errors"]


results = {}
with helm.Chart.load(chart) as loaded:
    oldest = loaded.metadata["kubeVersion"]
    assert oldest == f">={KUBERNETES[0]}.0-0", f"the oldest version of Kubernetes is {oldest}"
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        wanted = yaml.safe_load(path.read_text())
        with cluster(wanted.get("cluster", [])) as config:
            objects, wrong = judge(loaded, config, wanted)
        results[path.stem] = {"objects": objects, "wrong": wrong}
print(json.dumps(results))
