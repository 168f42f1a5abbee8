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

{{/* What the operator's pod mounts, and where. */}}
{{- define "backstop.volumeMounts" -}}
{{- if .Values.routes.providers -}}
- name: routes
  mountPath: /etc/backstop
  readOnly: true
{{ end -}}
{{- if .Values.notifications.channels -}}
- name: notifications
  mountPath: /etc/backstop-notifications
  readOnly: true
{{ end -}}
{{- if .Values.audit.claim -}}
- name: audit
  mountPath: /var/lib/backstop-audit
{{ end -}}
{{- with .Values.alerts }}
{{- if and .enabled .credentialsSecret -}}
- name: alerts-credentials
  mountPath: /etc/backstop-alerts/credentials
  readOnly: true
{{ end -}}
{{- if and .enabled .tlsSecret -}}
- name: alerts-tls
  mountPath: /etc/backstop-alerts/tls
  readOnly: true
{{ end -}}
{{- end }}
{{- end }}

{{- define "backstop.volumes" -}}
{{- if .Values.routes.providers -}}
- name: routes
  configMap:
    name: {{ include "backstop.fullname" . }}-routes
{{ end -}}
{{- if .Values.notifications.channels -}}
- name: notifications
  configMap:
    name: {{ include "backstop.fullname" . }}-notifications
{{ end -}}
{{- if .Values.audit.claim -}}
- name: audit
  persistentVolumeClaim:
    claimName: {{ .Values.audit.claim }}
{{ end -}}
{{- with .Values.alerts }}
{{- if and .enabled .credentialsSecret -}}
- name: alerts-credentials
  secret:
    secretName: {{ .credentialsSecret }}
{{ end -}}
{{- if and .enabled .tlsSecret -}}
- name: alerts-tls
  secret:
    secretName: {{ .tlsSecret }}
{{ end -}}
{{- end }}
{{- end }}
