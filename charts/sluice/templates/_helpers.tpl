{{/* The chart's name, or what the user calls it. */}}
{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What everything is named: the release, with the chart's name unless it is in there already. */}}
{{- define "sluice.fullname" -}}
{{- $name := include "sluice.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Names of objects outside the release's namespace: two releases of one name must not share them. */}}
{{- define "sluice.clusterName" -}}
{{ .Release.Namespace }}:{{ include "sluice.fullname" . }}
{{- end -}}

{{/* The operator's service account. */}}
{{- define "sluice.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed with serviceAccount.create=false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What selects the operator's pods: it can't be changed by an upgrade. */}}
{{- define "sluice.selector" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of every object. Helm adds managed-by itself, so that plain manifests don't claim it. */}}
{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: sluice
{{- end -}}

{{/* The operator's image: a digest goes before a tag. */}}
{{- define "sluice.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The agents' image: the operator's, as far as nothing else is said. */}}
{{- define "sluice.agentImage" -}}
{{- $agent := .Values.agent.image -}}
{{- $repository := default .Values.image.repository $agent.repository -}}
{{- if $agent.digest -}}
{{ $repository }}@{{ $agent.digest }}
{{- else if $agent.tag -}}
{{ $repository }}:{{ $agent.tag }}
{{- else if $agent.repository -}}
{{ $repository }}:{{ .Chart.AppVersion }}
{{- else -}}
{{ include "sluice.image" . }}
{{- end -}}
{{- end -}}
