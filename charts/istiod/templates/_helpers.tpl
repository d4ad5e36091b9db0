{{- /* "-REVISION", or nothing for the default one. */}}
{{- define "istiod.suffix" -}}
{{- if and .Values.revision (ne .Values.revision "default") }}-{{ .Values.revision }}{{ end -}}
{{- end }}

{{- define "istiod.name" -}}istiod{{ include "istiod.suffix" . }}{{- end }}

{{- define "istiod.rev" -}}{{ .Values.revision | default "default" }}{{- end }}

{{- define "istiod.podLabels" -}}
app.kubernetes.io/name: istiod
app.kubernetes.io/part-of: istio
istio.io/rev: {{ include "istiod.rev" . | quote }}
{{- end }}

{{- define "istiod.labels" -}}
{{ include "istiod.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "istiod.image" -}}
{{- if contains "/" .Values.pilot.image -}}
{{ .Values.pilot.image }}
{{- else -}}
{{ .Values.pilot.hub | default .Values.global.hub }}/{{ .Values.pilot.image }}:{{ .Values.pilot.tag | default .Values.global.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "istiod.cni" -}}
{{- if or .Values.pilot.cni.enabled .Values.istio_cni.enabled }}true{{ end -}}
{{- end }}

{{- define "istiod.ca-address" -}}
{{ .Values.global.caAddress | default (printf "%s.%s.svc:15012" (include "istiod.name" .) .Release.Namespace) }}
{{- end }}
