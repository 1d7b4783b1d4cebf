"""Validates the files in deploy/ and prints their parsed content as JSON.

usage: deployment.py FOLDER, which is the folder deploy/. An invalid file ends the script with an error.
"""

import json
import sys

import helm_python as helm
import kubernetes_validate
import yaml
from compose_spec import PyCompose

deploy = sys.argv[1]
KUBERNETES = "1.30"
# Kinds of other projects. The schemas of Kubernetes do not contain them.
FOREIGN = {"ScaledObject", "PodMonitor", "PrometheusRule"}


def compose():
    """The Compose file with its YAML merges applied. It must be valid for the Compose specification."""
    with open(f"{deploy}/compose/compose.yml") as file:
        document = yaml.safe_load(file)
    PyCompose.from_yaml(yaml.safe_dump(document))
    return document


def chart(values):
    """The objects of the chart, rendered with `values`. They must be valid for the schemas of Kubernetes."""
    with helm.Chart.load(f"{deploy}/helm/aftercall") as loaded:
        rendered = loaded.render(values, name="calls", namespace="calls")
    objects = [one for path, text in rendered.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    for one in objects:
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
    return objects


linted = helm.lint(f"{deploy}/helm/aftercall")
assert not linted["errors"], linted
everything = {
    "image": {"tag": "1.2.3"},
    "imagePullSecrets": [{"name": "pull"}],
    "nats": {"urlSecret": "logins", "credentialsSecret": "nats", "authoritySecret": "authority"},
    "otlpEndpoint": "http://collector:4318",
    "ingest": {
        "shutdownDelay": "1m",
        "trustedProxies": "10.0.0.0/8",
        "spool": {"enabled": False},
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}},
        "env": {"MAX_CONNECTIONS": "100"},
    },
    "worker": {"env": {"RETENTION_DAYS": "30"}},
    "keda": {"enabled": True},
    "networkPolicy": {"ingressFrom": [{"namespaceSelector": {}}], "metricsFrom": [{"podSelector": {}}]},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
}
print(
    json.dumps(
        {
            "compose": compose(),
            "default": chart({}),
            "everything": chart(everything),
            "values": yaml.safe_load(open(f"{deploy}/helm/aftercall/values.yaml")),
            "natsValues": yaml.safe_load(open(f"{deploy}/helm/nats-values.yaml")),
            "alerts": yaml.safe_load(open(f"{deploy}/prometheus/alerts.yml")),
        }
    )
)
