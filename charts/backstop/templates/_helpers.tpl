{{/* The name of the objects in the release's namespace. */}}
{{- define "backstop.fullname" -}}
{{ .Values.fullnameOverride | default "backstop" }}
{{- end }}

{{- define "backstop.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (include "backstop.fullname" .) }}
{{- end }}

{{/* The operator, as the API server knows it. */}}
{{- define "backstop.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "backstop.serviceAccountName" . }}
{{- end }}

{{- define "backstop.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "backstop.selectorLabels" -}}
app.kubernetes.io/name: backstop
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "backstop.labels" -}}
{{ include "backstop.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The subject of a binding. */}}
{{- define "backstop.subjects" -}}
- kind: ServiceAccount
  name: {{ include "backstop.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
