{{/*
What the operator may do where its resources are. Each rule says why; none has a wildcard. A change
here is a change for the people who review it: the test `admission` compares the verbs.
*/}}
{{- define "sluice.rules" -}}
# The resources themselves: patch removes annotations such as sluice.dev/resnapshot and sets finalizers.
- apiGroups: [sluice.dev]
  resources: [replicationsources, replicasinks]
  verbs: [get, list, watch, patch]
- apiGroups: [sluice.dev]
  resources: [replicationsources/status, replicasinks/status]
  verbs: [patch]
# Owner references that block deletion are only accepted from those who may set finalizers.
- apiGroups: [sluice.dev]
  resources: [replicationsources/finalizers, replicasinks/finalizers]
  verbs: [update]
# What an agent is made of.
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.agent.podMonitor }}
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
# How agents are doing: why a pod does not start, and its address.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# Only Secrets that a resource names are read; the watch is of metadata, but RBAC can't tell the two apart.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
