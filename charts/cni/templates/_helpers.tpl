{{- define "cni.labels" -}}
{{ include "cni.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "cni.podLabels" -}}
k8s-app: istio-cni-node
app.kubernetes.io/name: istio-cni
app.kubernetes.io/part-of: istio
istio.io/rev: {{ .Values.revision | default "default" | quote }}
{{- end }}

{{- define "cni.image" -}}
{{- if contains "/" .Values.cni.image -}}
{{ .Values.cni.image }}
{{- else -}}
{{ .Values.cni.hub | default .Values.global.hub }}/{{ .Values.cni.image }}:{{ .Values.cni.tag | default .Values.global.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
