{{/* Names, labels, and conversions of values. They read no cluster. */}}

{{/* Names of objects begin with this text. The name of a StatefulSet has at most 52 characters. */}}
{{- define "aftercall.fullname" -}}
{{ .Values.fullnameOverride | default .Release.Name | trunc 45 | trimSuffix "-" }}
{{- end }}

{{- define "aftercall.selector" -}}
app.kubernetes.io/name: aftercall
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Name, labels and annotations of an object. `labels`, `annotations` and `suffix` are optional. */}}
{{- define "aftercall.metadata" -}}
{{- $root := .root }}
name: {{ include "aftercall.fullname" $root }}-{{ .component }}{{ .suffix }}
{{- $labels := dict
    "app.kubernetes.io/name" "aftercall"
    "app.kubernetes.io/instance" $root.Release.Name
    "app.kubernetes.io/component" .component
    "app.kubernetes.io/version" $root.Chart.AppVersion
    "app.kubernetes.io/managed-by" $root.Release.Service
    "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") }}
labels: {{ merge $labels (deepCopy (.labels | default dict)) $root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (deepCopy (.annotations | default dict)) $root.Values.commonAnnotations }}
annotations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "aftercall.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "aftercall.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "aftercall.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/*
A scalar as exact text. YAML numbers are floating-point numbers, and the default form of 33554432 is 3.3554432e+07.
Numbers over 2^53 are not exact any more.
*/}}
{{- define "aftercall.text" -}}
{{- $value := .value }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) -}}
{{- if gt (max (floor $value) (floor (mulf -1.0 $value))) 9007199254740992 }}
{{- fail (printf "%s: a number of this size is exact only as text, so write it in quotes" .name) }}
{{- end -}}
{{ printf "%.0f" $value }}
{{- else -}}
{{ $value }}
{{- end }}
{{- end }}

{{/*
A duration in milliseconds. The gateway and the worker read the same form: numbers with units, such as 500ms, 90s,
1m30s or 2h.
*/}}
{{- define "aftercall.milliseconds" -}}
{{- $units := dict
    "ms" 1 "msec" 1
    "s" 1000 "sec" 1000 "second" 1000 "seconds" 1000
    "m" 60000 "min" 60000 "minute" 60000 "minutes" 60000
    "h" 3600000 "hr" 3600000 "hour" 3600000 "hours" 3600000 }}
{{- $total := 0 }}
{{- range regexFindAll "[0-9]+ *[a-z]+" . -1 }}
{{- $unit := regexFind "[a-z]+" . }}
{{- $total = add $total (mul (regexFind "[0-9]+" . | int64) (get $units $unit)) }}
{{- end -}}
{{ $total }}
{{- end }}

{{/* The sum of durations in whole seconds, rounded up. */}}
{{- define "aftercall.seconds" -}}
{{- $total := 0 }}
{{- range . }}
{{- $total = add $total (include "aftercall.milliseconds" . | int64) }}
{{- end -}}
{{ div (add $total 999) 1000 }}
{{- end }}

{{/* The bytes of a quantity of Kubernetes, such as 2Gi. */}}
{{- define "aftercall.bytes" -}}
{{- $units := dict
    "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000
    "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- $unit := regexFind "[A-Za-z]*$" . }}
{{- mul (trimSuffix $unit . | int64) (get $units $unit) }}
{{- end }}
