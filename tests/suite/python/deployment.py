"""Parses the files under deploy/ as the tools that will read them do, and prints what they say as JSON.

argv: the folder deploy/. Whatever one of the judges does not accept ends the script with its words.
"""

import json
import sys

import helm_python as helm
import kubernetes_validate
import yaml
from compose_spec import PyCompose

deploy = sys.argv[1]
KUBERNETES = "1.30"
# What is not Kubernetes' own: its schemas are elsewhere.
FOREIGN = {"ScaledObject", "PodMonitor", "PrometheusRule"}


def compose():
    """The compose file, its merges applied, accepted by the specification's own types."""
    with open(f"{deploy}/compose/compose.yml") as file:
        document = yaml.safe_load(file)
    PyCompose.from_yaml(yaml.safe_dump(document))
    return document


def chart(values):
    """The chart rendered with `values`: every object, accepted by the schemas of Kubernetes."""
    with helm.Chart.load(f"{deploy}/helm/aftercall") as loaded:
        rendered = loaded.render(values, name="calls", namespace="calls")
    objects = [one for text in rendered.values() for one in yaml.safe_load_all(text) if one]
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
