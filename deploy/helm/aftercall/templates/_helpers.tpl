{{- define "aftercall.labels" -}}
app.kubernetes.io/name: aftercall
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "aftercall.selector" -}}
app.kubernetes.io/name: aftercall
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "aftercall.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Settings of every pod: it runs without root and without a token of the cluster. */}}
{{- define "aftercall.pod" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "aftercall.container" -}}
image: {{ include "aftercall.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{/* Spreads pods over nodes and zones, if there are several. */}}
{{- define "aftercall.spread" -}}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "aftercall.selector" $ | nindent 8 }}
{{- end }}
{{- end }}

{{/* NATS_URL of the user `user`. */}}
{{- define "aftercall.natsUrl" -}}
{{- with .root.Values.nats.urlSecret }}
- { name: NATS_URL, valueFrom: { secretKeyRef: { name: {{ . }}, key: {{ $.user }} } } }
{{- else }}
- { name: NATS_URL, value: {{ .root.Values.nats.url | quote }} }
{{- end }}
{{- end }}

{{- define "aftercall.env" -}}
- { name: STREAM_REPLICAS, value: {{ .Values.nats.replicas | quote }} }
{{- if .Values.nats.credentialsSecret }}
- { name: NATS_CREDS_FILE, value: /etc/nats/nats.creds }
{{- end }}
{{- if .Values.nats.authoritySecret }}
- { name: NATS_CA_FILE, value: /etc/nats-authority/ca.crt }
{{- end }}
{{- with .Values.otlpEndpoint }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }} }
{{- end }}
{{- end }}

{{- define "aftercall.mounts" -}}
{{- if .Values.nats.credentialsSecret }}
- { name: nats, mountPath: /etc/nats, readOnly: true }
{{- end }}
{{- if .Values.nats.authoritySecret }}
- { name: nats-authority, mountPath: /etc/nats-authority, readOnly: true }
{{- end }}
{{- end }}

{{- define "aftercall.volumes" -}}
{{- if .Values.nats.credentialsSecret }}
- name: nats
  secret: { secretName: {{ .Values.nats.credentialsSecret }} }
{{- end }}
{{- if .Values.nats.authoritySecret }}
- name: nats-authority
  secret: { secretName: {{ .Values.nats.authoritySecret }} }
{{- end }}
{{- end }}

{{/* A duration in whole seconds: 10s, 2m. */}}
{{- define "aftercall.seconds" -}}
{{- if hasSuffix "m" . }}{{ mul (trimSuffix "m" . | int) 60 }}{{ else }}{{ trimSuffix "s" . | int }}{{ end }}
{{- end }}
