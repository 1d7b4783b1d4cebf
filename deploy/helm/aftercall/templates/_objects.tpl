{{/* Objects that several components have. Their scope is { root, component }. */}}

{{- define "aftercall.service" -}}
{{- $service := (index .root.Values .component).service }}
apiVersion: v1
kind: Service
metadata: {{ include "aftercall.metadata" (merge (dict "annotations" $service.annotations) .) | nindent 2 }}
spec:
  type: {{ $service.type }}
  {{- with $service.externalTrafficPolicy }}
  externalTrafficPolicy: {{ . }}
  {{- end }}
  selector: {{ include "aftercall.selector" . | nindent 4 }}
  ports:
    - { name: http, port: {{ $service.port }}, targetPort: http }
{{- end }}

{{/* The scope also has `paths`, which are prefixes, and `annotations`, which the user's annotations override. */}}
{{- define "aftercall.ingress" -}}
{{- $ingress := (index .root.Values .component).ingress }}
{{- $name := printf "%s-%s" (include "aftercall.fullname" .root) .component }}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{ include "aftercall.metadata" (merge (dict "annotations" (merge (deepCopy $ingress.annotations) .annotations)) .) | nindent 2 }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with $ingress.tlsSecret }}
  tls:
    - hosts: [{{ $ingress.host | quote }}]
      secretName: {{ . }}
  {{- end }}
  rules:
    - host: {{ $ingress.host | quote }}
      http:
        paths:
          {{- range .paths }}
          - path: {{ . }}
            pathType: Prefix
            backend: { service: { name: {{ $name }}, port: { name: http } } }
          {{- end }}
{{- end }}

{{- define "aftercall.podDisruptionBudget" -}}
{{- $budget := .root.Values.podDisruptionBudget }}
{{- if $budget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{ include "aftercall.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ $budget.maxUnavailable }}
  unhealthyPodEvictionPolicy: {{ $budget.unhealthyPodEvictionPolicy }}
  selector:
    matchLabels: {{ include "aftercall.selector" . | nindent 6 }}
{{- end }}
{{- end }}
