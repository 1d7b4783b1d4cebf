{{/* Values that values.schema.json cannot judge. Each message names the value and what to do. */}}
{{- define "aftercall.checks" -}}
{{- $ingest := .Values.ingest }}
{{- if and (not .Values.secret) (not $ingest.allowUnsigned) }}
{{- fail "secret: name the secret with ELEVENLABS_WEBHOOK_SECRET. Only ingest.allowUnsigned=true works without it, and then webhooks need no signature" }}
{{- end }}
{{- if and $ingest.ingress.enabled (not $ingest.trustedProxies) }}
{{- fail "ingest.trustedProxies: name the networks of the ingress controller (such as 10.0.0.0/8). Without them the gateway answers every webhook 403 untrusted_proxy" }}
{{- end }}
{{- if $ingest.spool.enabled }}
{{- $most := include "aftercall.text" (dict "name" "ingest.spool.maxBytes" "value" $ingest.spool.maxBytes) | int64 }}
{{- $files := add $most (ternary 83886080 0 $ingest.spool.first) }}
{{- if ge $files (include "aftercall.bytes" $ingest.spool.size | int64) }}
{{- fail (printf "ingest.spool.maxBytes: %d bytes do not fit on the volume of ingest.spool.size %s" $files $ingest.spool.size) }}
{{- end }}
{{- include "aftercall.checkVolumes" . }}
{{- end }}
{{- if and $ingest.autoscaling.enabled (gt (int $ingest.autoscaling.minReplicas) (int $ingest.autoscaling.maxReplicas)) }}
{{- fail "ingest.autoscaling.maxReplicas: must be at least ingest.autoscaling.minReplicas" }}
{{- end }}
{{- if and .Values.keda.enabled (lt (int .Values.keda.maxReplicas) (max 1 (int .Values.worker.replicas) | int)) }}
{{- fail "keda.maxReplicas: must be at least worker.replicas, which is the smallest number of workers" }}
{{- end }}
{{- if and .Values.keda.natsMonitor (not (contains "." (first (splitList ":" .Values.keda.natsMonitor)))) }}
{{- fail (printf "keda.natsMonitor: KEDA resolves '%s' in its own namespace. Write HOST.NAMESPACE.svc:PORT" .Values.keda.natsMonitor) }}
{{- end }}
{{- if .Values.register.enabled }}
{{- if not .Values.register.secretClaim }}
{{- fail "register.secretClaim: name a PersistentVolumeClaim (ReadWriteMany). ElevenLabs shows the secret of a new webhook once, and the job writes it there for the gateways" }}
{{- end }}
{{- if not (or .Values.register.url $ingest.ingress.enabled) }}
{{- fail "register.url: set the public URL of the webhook, or enable ingest.ingress" }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Kubernetes refuses a changed volume of an existing StatefulSet, with a message that does not name the value. Without a
cluster (`helm template`), `lookup` finds nothing, and nothing is checked.
*/}}
{{- define "aftercall.checkVolumes" -}}
{{- $spool := .Values.ingest.spool }}
{{- $name := printf "%s-ingest" (include "aftercall.fullname" .) }}
{{- range dig "spec" "volumeClaimTemplates" list (lookup "apps/v1" "StatefulSet" .Release.Namespace $name) }}
{{- $size := .spec.resources.requests.storage }}
{{- $class := .spec.storageClassName | default "" }}
{{- if or (ne (include "aftercall.bytes" $size) (include "aftercall.bytes" $spool.size)) (ne $class $spool.storageClass) }}
{{- fail (printf "ingest.spool: the volumes of %s have size %s and storageClass '%s', and Kubernetes does not change them. Set these values, or follow \"Change the volumes\" in deploy/helm/README.md" $name $size $class) }}
{{- end }}
{{- end }}
{{- end }}
