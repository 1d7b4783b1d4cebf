{{/*
Variables of the containers, as YAML: NAME: { value or valueFrom, from }. `from` is the value of the chart that sets the
variable; without it, the chart sets the variable itself.
*/}}

{{- define "aftercall.variables.nats" -}}
{{- $nats := .root.Values.nats }}
{{- if $nats.urlSecret }}
NATS_URL: { from: nats.urlSecret, valueFrom: { secretKeyRef: { name: {{ $nats.urlSecret }}, key: {{ .user }} } } }
{{- else }}
NATS_URL: { from: nats.url, value: {{ $nats.url | quote }} }
{{- end }}
STREAM_REPLICAS: { from: nats.replicas, value: {{ $nats.replicas | quote }} }
{{- if $nats.credentialsSecret }}
NATS_CREDS_FILE: { from: nats.credentialsSecret, value: /etc/nats/nats.creds }
{{- end }}
{{- if $nats.authoritySecret }}
NATS_CA_FILE: { from: nats.authoritySecret, value: /etc/nats-authority/ca.crt }
{{- end }}
{{- with .root.Values.otlpEndpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: { from: otlpEndpoint, value: {{ . | quote }} }
{{- end }}
{{- end }}

{{- define "aftercall.variables.ingest" -}}
{{- $ingest := .Values.ingest }}
LISTEN_ADDR: { value: "0.0.0.0:8080" }
ADMIN_ADDR: { value: "0.0.0.0:9080" }
NATS_MONITOR_URL: { from: nats.monitorUrl, value: {{ .Values.nats.monitorUrl | quote }} }
ALLOWED_SOURCES: { from: ingest.allowedSources, value: {{ $ingest.allowedSources | quote }} }
TRUSTED_PROXIES: { from: ingest.trustedProxies, value: {{ $ingest.trustedProxies | quote }} }
ALLOW_UNSIGNED: { from: ingest.allowUnsigned, value: {{ $ingest.allowUnsigned | quote }} }
{{- if .Values.register.enabled }}
ELEVENLABS_WEBHOOK_SECRET_FILE: { from: register.secretClaim, value: {{ include "aftercall.webhookSecretFile" . }} }
{{- else if .Values.secret }}
{{- /* Without the key the pod does not start. A misspelt key would leave the secret unset otherwise. A file may hold
the secret instead; the gateway itself refuses a missing file. */}}
{{- $optional := or $ingest.allowUnsigned (hasKey $ingest.env "ELEVENLABS_WEBHOOK_SECRET_FILE") (hasKey $ingest.env "ENV_FILE") }}
ELEVENLABS_WEBHOOK_SECRET: { from: secret, valueFrom: { secretKeyRef: { name: {{ .Values.secret }}, key: ELEVENLABS_WEBHOOK_SECRET{{ if $optional }}, optional: true{{ end }} } } }
{{- end }}
MAX_BODY_BYTES: { from: ingest.maxBodyBytes, value: {{ include "aftercall.text" (dict "name" "ingest.maxBodyBytes" "value" $ingest.maxBodyBytes) | quote }} }
SHUTDOWN_DELAY: { from: ingest.shutdownDelay, value: {{ $ingest.shutdownDelay | quote }} }
SHUTDOWN_GRACE: { from: ingest.shutdownGrace, value: {{ $ingest.shutdownGrace | quote }} }
{{- if $ingest.spool.enabled }}
SPOOL: { from: ingest.spool.first, value: {{ ternary "first" "fallback" $ingest.spool.first }} }
SPOOL_DIR: { from: ingest.spool.enabled, value: /var/lib/aftercall/spool }
SPOOL_MAX_BYTES: { from: ingest.spool.maxBytes, value: {{ include "aftercall.text" (dict "name" "ingest.spool.maxBytes" "value" $ingest.spool.maxBytes) | quote }} }
{{- end }}
{{ include "aftercall.variables.nats" (dict "root" . "user" "gateway") }}
{{- end }}

{{/* Of both deployments of the worker. */}}
{{- define "aftercall.variables.database" -}}
MONGODB_URI: { from: mongodbSecret, valueFrom: { secretKeyRef: { name: {{ .Values.mongodbSecret }}, key: MONGODB_URI } } }
{{ include "aftercall.variables.nats" (dict "root" . "user" "worker") }}
{{- end }}

{{- define "aftercall.variables.worker" -}}
ADMIN_ADDR: { value: "0.0.0.0:9081" }
ROLES: { from: worker.roles, value: {{ .Values.worker.roles | quote }} }
SHUTDOWN_GRACE: { from: worker.shutdownGrace, value: {{ .Values.worker.shutdownGrace | quote }} }
{{- if or .Values.register.enabled .Values.register.url }}
ELEVENLABS_STATUS_CALLBACK_URL: { from: register.url, value: {{ include "aftercall.webhookUrl" . | quote }} }
{{- end }}
{{ include "aftercall.variables.database" . }}
{{- end }}

{{- define "aftercall.variables.console" -}}
ADMIN_ADDR: { value: "0.0.0.0:9081" }
CONSOLE_ADDR: { value: "0.0.0.0:9082" }
ROLES: { value: console }
SHUTDOWN_GRACE: { from: console.shutdownGrace, value: {{ .Values.console.shutdownGrace | quote }} }
{{ include "aftercall.variables.database" . }}
{{- end }}

{{/*
The list `env` of a container: variables of the chart, then those of COMPONENT.env and COMPONENT.extraEnv. Of two
entries with one name Kubernetes takes the last, so a repeated name is an error.
*/}}
{{- define "aftercall.env" -}}
{{- $component := .component }}
{{- $set := include (printf "aftercall.variables.%s" $component) .root | fromYaml }}
{{- range $name, $entry := $set }}
- name: {{ $name }}
  {{- omit $entry "from" | toYaml | nindent 2 }}
{{- end }}
{{- $settings := index .root.Values $component }}
{{- range $name, $value := $settings.env }}
{{- with get $set $name }}
{{- fail (printf "%s.env.%s: the chart sets this variable%s" $component $name (ternary (printf ". Use the value %s" .from) "" (hasKey . "from"))) }}
{{- end }}
- name: {{ $name }}
  value: {{ include "aftercall.text" (dict "name" (printf "%s.env.%s" $component $name) "value" $value) | quote }}
{{- end }}
{{- range $settings.extraEnv }}
{{- if or (hasKey $set .name) (hasKey $settings.env .name) }}
{{- fail (printf "%s.extraEnv: %s is set already, by the chart or by %s.env" $component .name $component) }}
{{- end }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- end }}

{{- define "aftercall.webhookUrl" -}}
{{ .Values.register.url | default (printf "https://%s/api/webhooks/elevenlabs/call-status" .Values.ingest.ingress.host) }}
{{- end }}

{{- define "aftercall.webhookSecretFile" -}}
/var/lib/aftercall-webhook/secret
{{- end }}
