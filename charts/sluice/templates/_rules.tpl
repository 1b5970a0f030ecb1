{{/*
What the operator may do where its resources are. Each rule says why; none has a wildcard. It is the
table at the head of operator/src/apply.rs; the test `admission` looks for wildcards.
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
# What an agent and a check are made of. Those two that the operator looks at all the time are watched.
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [get, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch, delete]
# Also without agent.networkPolicy and agent.podMonitor: switching them off deletes what is there.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, create, patch, delete]
# How agents are doing: a pod's address, why it does not start.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Only Secrets that a resource names are read; the watch is of metadata, but RBAC can't tell the two apart.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
