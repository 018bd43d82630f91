{{- define "pullgate.selector" -}}
app.kubernetes.io/name: pullgate
{{- end }}

{{- define "pullgate.labels" -}}
{{ include "pullgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* Name, namespace and labels of a namespaced object. */}}
{{- define "pullgate.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "pullgate.labels" .root | nindent 2 }}
{{- end }}

{{- define "pullgate.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "pullgate.exemptNamespaces" -}}
{{ append .Values.exemptNamespaces .Release.Namespace | uniq | toJson }}
{{- end }}
