/**
 * The templates of Slack's and PagerDuty's messages, in the language of Alertmanager (Go's text/template). It
 * has neither arithmetic nor a way to keep what a template printed: what is counted is a string that grows, and
 * lengths are kept by cutting each part. No function takes a pattern made of a label, which might be none.
 */
export const messageTemplates = `{{/*
  Messages of vllm-vitals for Slack and PagerDuty. Generated: vllm-vitals generate alertmanager.
  They say what is wrong, where, since when and with which numbers, and lead to the runbook.
*/}}

{{/* RESOLVED, or the gravest severity of what fires. Takes the data of a notification. */}}
{{ define "vllm_vitals.state" -}}
{{- $state := "RESOLVED" -}}
{{- range .Alerts.Firing -}}
  {{- if ne $state "CRITICAL" }}{{ $state = or .Labels.severity "warning" | toUpper }}{{ end -}}
{{- end -}}
{{- $state -}}
{{- end }}

{{/* The names of a list of alerts, each once. */}}
{{ define "vllm_vitals.names" -}}
{{- $alerts := . -}}
{{- $names := "" -}}
{{- range $i, $alert := $alerts -}}
  {{- $seen := false -}}
  {{- range $j, $before := $alerts -}}
    {{- if and (lt $j $i) (eq $before.Labels.alertname $alert.Labels.alertname) }}{{ $seen = true }}{{ end -}}
  {{- end -}}
  {{- if not $seen }}{{ if $names }}{{ $names = printf "%s, " $names }}{{ end }}{{ $names = printf "%s%s" $names $alert.Labels.alertname }}{{ end -}}
{{- end -}}
{{- printf "%.200s" $names -}}
{{- end }}

{{/* Where it is, from labels; alerts of a whole fleet have no instance. */}}
{{ define "vllm_vitals.place" -}}
{{- $host := "" -}}
{{- with .instance }}{{ $host = printf " on %s" . }}{{ end -}}
{{- if .model_name }}{{ .model_name }}{{ with .target }} ({{ . }}){{ end }}{{ $host -}}
{{- else if .target }}{{ .target }}{{ $host -}}
{{- else if .instance }}{{ .instance -}}
{{- else }}{{ .job }}{{ end -}}
{{- end }}

{{ define "vllm_vitals.title" -}}
[{{ template "vllm_vitals.state" . }}] {{ if .Alerts.Firing }}{{ template "vllm_vitals.names" .Alerts.Firing }}{{ else }}{{ template "vllm_vitals.names" .Alerts }}{{ end }}: {{ template "vllm_vitals.place" .CommonLabels }}
{{- end }}

{{/* What this receiver has been told, in Alertmanager. */}}
{{ define "vllm_vitals.alerts_url" }}{{ .ExternalURL }}/#/alerts?receiver={{ .Receiver | urlquery }}{{ end }}

{{/*
  A new silence, to be completed in Alertmanager: of what fires in this group and of nothing else, for a silence of the
  host would hide the next trouble as well.
*/}}
{{ define "vllm_vitals.silence_url" -}}
{{ .ExternalURL }}/#/silences/new?filter=%7Balertname%3D~%22
{{- $alerts := .Alerts.Firing -}}
{{- $any := false -}}
{{- range $i, $alert := $alerts -}}
  {{- $seen := false -}}
  {{- range $j, $before := $alerts -}}
    {{- if and (lt $j $i) (eq $before.Labels.alertname $alert.Labels.alertname) }}{{ $seen = true }}{{ end -}}
  {{- end -}}
  {{- if not $seen }}{{ if $any }}%7C{{ end }}{{ $any = true }}{{ $alert.Labels.alertname | urlquery }}{{ end -}}
{{- end -}}
%22
{{- range .GroupLabels.SortedPairs }}{{ if ne .Name "alertname" }}%2C{{ .Name }}%3D%22{{ .Value | urlquery }}%22{{ end }}{{ end -}}
%7D
{{- end }}

{{/* The summary of the first alert that fires, or else of the first. */}}
{{ define "vllm_vitals.first_summary" -}}
{{- $first := index .Alerts 0 -}}
{{- with .Alerts.Firing }}{{ $first = index . 0 }}{{ end -}}
{{- printf "%.600s" $first.Annotations.summary -}}
{{- end }}

{{ define "vllm_vitals.time" }}{{ .UTC.Format "2006-01-02 15:04:05" }} UTC{{ end }}

{{/* How long an alert lasted, in whole seconds: Go counts a duration in nanoseconds. */}}
{{ define "vllm_vitals.lasted" }}{{ (.EndsAt.Sub .StartsAt).Round 1000000000 }}{{ end }}


{{/* Slack takes these three for its own signs. */}}
{{ define "vllm_vitals.slack.escaped" }}{{ . | reReplaceAll "&" "&amp;" | reReplaceAll "<" "&lt;" | reReplaceAll ">" "&gt;" }}{{ end }}
{{ define "vllm_vitals.slack.brief" }}{{ template "vllm_vitals.slack.escaped" (printf "%.110s" .) }}{{ if ne . (printf "%.110s" .) }}…{{ end }}{{ end }}
{{ define "vllm_vitals.slack.full" }}{{ template "vllm_vitals.slack.escaped" (printf "%.350s" .) }}{{ if ne . (printf "%.350s" .) }}…{{ end }}{{ end }}

{{ define "vllm_vitals.slack.color" -}}
{{- $color := "good" -}}
{{- range .Alerts.Firing -}}
  {{- if eq .Labels.severity "critical" }}{{ $color = "danger" }}{{ else if ne $color "danger" }}{{ $color = "warning" }}{{ end -}}
{{- end -}}
{{- $color -}}
{{- end }}

{{/* What a phone shows of the message. */}}
{{ define "vllm_vitals.slack.fallback" }}{{ template "vllm_vitals.title" . }} - {{ template "vllm_vitals.first_summary" . }}{{ end }}

{{/*
  Up to ten alerts, those that fire first; up to three of them in full. Slack shows 3000 characters: ten alerts have
  room for 110 characters of summary, their runbooks and one dashboard, and the silence, which names all, for eight.
*/}}
{{ define "vllm_vitals.slack.text" -}}
{{- $few := le (len .Alerts) 3 -}}
{{- $dashboard := .CommonAnnotations.dashboard_url -}}
{{- $shown := "" -}}
{{- $where := "" -}}
{{- with .CommonLabels.instance }}{{ $where = printf "%s, host \`%s\`" $where . }}{{ end -}}
{{- with .CommonLabels.target }}{{ $where = printf "%s, target \`%s\`" $where . }}{{ end -}}
{{- with .CommonLabels.model_name }}{{ $where = printf "%s, model \`%s\`" $where . }}{{ end -}}
{{- with .CommonLabels.uuid }}{{ $where = printf "%s, GPU \`%s\`" $where . }}{{ end -}}
Status: {{ .Status }}{{ template "vllm_vitals.slack.escaped" $where -}}
{{- range .Alerts.Firing -}}{{- if lt (len $shown) 10 -}}{{- $shown = printf "%s." $shown }}
*{{ .Labels.alertname }}* {{ .Labels.severity }}, since {{ template "vllm_vitals.time" .StartsAt }}
{{ if $few -}}
{{ template "vllm_vitals.slack.full" .Annotations.summary }}
{{- with .Annotations.description }}
_{{ template "vllm_vitals.slack.full" . }}_
{{- end -}}
{{- else -}}
{{ template "vllm_vitals.slack.brief" .Annotations.summary }}
{{- end -}}
{{- template "vllm_vitals.slack.runbook" .Annotations.runbook_url -}}
{{- if and $few (not $dashboard) }}{{ with .Annotations.dashboard_url }} | <{{ template "vllm_vitals.slack.escaped" . }}|Dashboard>{{ end }}{{ end -}}
{{- end -}}{{- end -}}
{{- range .Alerts.Resolved -}}{{- if lt (len $shown) 10 -}}{{- $shown = printf "%s." $shown }}
*{{ .Labels.alertname }}* resolved after {{ template "vllm_vitals.lasted" . }}, at {{ template "vllm_vitals.time" .EndsAt }}
{{- if $few }}
Last: {{ template "vllm_vitals.slack.full" .Annotations.summary }}
{{- template "vllm_vitals.slack.runbook" .Annotations.runbook_url -}}
{{- end -}}
{{- end -}}{{- end -}}
{{- if gt (len .Alerts) 10 }}
10 of {{ len .Alerts }} alerts are shown: <{{ template "vllm_vitals.alerts_url" . }}|all of them>
{{- end }}
{{ with $dashboard }}<{{ template "vllm_vitals.slack.escaped" . }}|Dashboard>{{ end -}}
{{- if and .Alerts.Firing (le (len .Alerts) 8) }}{{ if $dashboard }} | {{ end }}<{{ template "vllm_vitals.silence_url" . }}|Silence>{{ end -}}
{{- end }}


{{/* The headline of the incident, and what the phone reads aloud. */}}
{{ define "vllm_vitals.pagerduty.description" -}}
{{ if .Alerts.Firing }}{{ template "vllm_vitals.names" .Alerts.Firing }}{{ else }}{{ template "vllm_vitals.names" .Alerts }}{{ end }}: {{ template "vllm_vitals.first_summary" . }}
{{- if gt (len .Alerts.Firing) 1 }} ({{ len .Alerts.Firing }} alerts in all){{ end -}}
{{- with .CommonLabels.instance }}{{ if not (match . (index $.Alerts 0).Annotations.summary) }}, {{ template "vllm_vitals.place" $.CommonLabels }}{{ end }}{{ end -}}
{{- end }}

{{/* PagerDuty knows critical, error, warning and info. */}}
{{ define "vllm_vitals.pagerduty.severity" -}}
{{- $severity := "warning" -}}
{{- range .Alerts -}}
  {{- if eq .Labels.severity "critical" }}{{ $severity = "critical" }}{{ end -}}
{{- end -}}
{{- $severity -}}
{{- end }}

{{/* A runbook where it is read, or where it lies when that is no address: PagerDuty refuses such a link, and Slack shows it as text. */}}
{{ define "vllm_vitals.slack.runbook" -}}
{{- with . }}
{{ if match "^https?://" . }}<{{ template "vllm_vitals.slack.escaped" . }}|Runbook>{{ else }}Runbook: {{ template "vllm_vitals.slack.escaped" . }}{{ end }}
{{- end -}}
{{- end }}

{{/* The link that every incident has, of the first alert that fires; the others are in the details. */}}
{{ define "vllm_vitals.pagerduty.runbook" -}}
{{- $first := index .Alerts 0 -}}
{{- with .Alerts.Firing }}{{ $first = index . 0 }}{{ end -}}
{{- with $first.Annotations.runbook_url }}{{ if match "^https?://" . }}{{ . }}{{ end }}{{ end -}}
{{- end }}

{{ define "vllm_vitals.pagerduty.dashboard" -}}
{{- $first := index .Alerts 0 -}}
{{- with .Alerts.Firing }}{{ $first = index . 0 }}{{ end -}}
{{- $first.Annotations.dashboard_url -}}
{{- end }}

{{/* Takes a list of alerts. */}}
{{ define "vllm_vitals.pagerduty.list" -}}
{{- range $i, $alert := . }}{{ if lt $i 10 }}{{ if $i }}

{{ end -}}
{{ .Labels.alertname }} ({{ .Labels.severity }}) {{ template "vllm_vitals.place" .Labels }}{{ with .Labels.uuid }} {{ . }}{{ end }}, {{ if eq .Status "firing" }}since {{ template "vllm_vitals.time" .StartsAt }}{{ else }}lasted {{ template "vllm_vitals.lasted" . }}{{ end }}
{{ printf "%.600s" .Annotations.summary }}
{{- with .Annotations.description }}
{{ printf "%.600s" . }}{{ end }}
{{- with .Annotations.runbook_url }}
Runbook: {{ . }}{{ end }}
{{- with .Annotations.dashboard_url }}
Dashboard: {{ . }}{{ end }}
{{- end }}{{ end -}}
{{- if gt (len .) 10 }}

10 of {{ len . }} alerts are shown.{{ end -}}
{{- end }}
`
