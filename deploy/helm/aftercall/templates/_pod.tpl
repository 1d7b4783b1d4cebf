{{/* Parts of the pods. Their scope is { root, component }. */}}

{{/* Labels and annotations of a pod. */}}
{{- define "aftercall.podMetadata" -}}
{{- $settings := index .root.Values .component }}
{{- $selector := include "aftercall.selector" . | fromYaml }}
labels: {{ merge $selector (deepCopy $settings.podLabels) .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (deepCopy $settings.podAnnotations) .root.Values.commonAnnotations }}
annotations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Identity and security of every pod: no root, no token of the cluster. */}}
{{- define "aftercall.podSecurity" -}}
serviceAccountName: {{ include "aftercall.serviceAccountName" . }}
automountServiceAccountToken: false
securityContext: {{ toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where the pods of a component run. Without own constraints they are spread over nodes and zones, if there are several. */}}
{{- define "aftercall.scheduling" -}}
{{- $settings := index .root.Values .component }}
{{- with $settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $settings.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $settings.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $settings.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $settings.topologySpreadConstraints }}
  {{- toYaml $settings.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "aftercall.selector" $ | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "aftercall.image.fields" -}}
image: {{ include "aftercall.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{ toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{/* Image, variables, resources and mounts of the container of a component. */}}
{{- define "aftercall.container" -}}
{{- $root := .root }}
{{- $settings := index $root.Values .component }}
name: {{ .component }}
{{ include "aftercall.image.fields" $root }}
env: {{ include "aftercall.env" . | nindent 2 }}
{{- with include "aftercall.envFrom" . | fromYamlArray }}
envFrom: {{ toYaml . | nindent 2 }}
{{- end }}
resources: {{ toYaml $settings.resources | nindent 2 }}
{{- with include "aftercall.mounts" . | fromYamlArray }}
volumeMounts: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "aftercall.envFrom" -}}
{{- if ne .component "ingest" }}
- secretRef: { name: {{ .root.Values.mongodbSecret }} }
{{- end }}
{{- with .root.Values.secret }}
- secretRef: { name: {{ . }} }
{{- end }}
{{- if eq .component "console" }}
{{- with .root.Values.console.loginSecret }}
- secretRef: { name: {{ . }} }
{{- end }}
{{- end }}
{{- with (index .root.Values .component).extraEnvFrom }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Probes. Liveness does not depend on broker and database, because a restart does not repair them. */}}
{{- define "aftercall.livenessProbes" -}}
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
startupProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 1
  failureThreshold: 60
{{- end }}

{{- define "aftercall.mounts" -}}
{{- $values := .root.Values }}
{{- if and (eq .component "ingest") $values.ingest.spool.enabled }}
- { name: spool, mountPath: /var/lib/aftercall }
{{- end }}
{{- if and (eq .component "ingest") $values.register.enabled }}
- { name: webhook-secret, mountPath: {{ include "aftercall.webhookSecretFile" .root | dir }}, readOnly: true }
{{- end }}
{{- if $values.nats.credentialsSecret }}
- { name: nats, mountPath: /etc/nats, readOnly: true }
{{- end }}
{{- if $values.nats.authoritySecret }}
- { name: nats-authority, mountPath: /etc/nats-authority, readOnly: true }
{{- end }}
{{- with (index $values .component).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "aftercall.volumes" -}}
{{- $values := .root.Values }}
{{- if and (eq .component "ingest") $values.register.enabled }}
- name: webhook-secret
  persistentVolumeClaim: { claimName: {{ $values.register.secretClaim }} }
{{- end }}
{{- with $values.nats.credentialsSecret }}
- name: nats
  secret: { secretName: {{ . }} }
{{- end }}
{{- with $values.nats.authoritySecret }}
- name: nats-authority
  secret: { secretName: {{ . }} }
{{- end }}
{{- with (index $values .component).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
