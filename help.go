package main

import (
	"strings"
	"text/template"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"

	"rufus_exporter/config"
)

const about = "Prometheus exporter for race timing sessions of the RUFUS Cloud API."

// section is a part of --help and of the manual page that follows the flags.
type section struct {
	Title string
	Rows  [][2]string // name and meaning
}

// sections returns the sections in the order in which they are printed.
func sections() []section {
	return []section{
		{"Environment", [][2]string{
			{config.KeyVariable, "API key. Not read if the session list has api.key or api.key_file."},
			{config.KeyFileVariable, "Path of a file that holds the API key. Set only one of the two."},
			{"GOGC, GOMEMLIMIT", "Settings of Go's garbage collector. If GOGC is not set, the exporter tunes it."},
			{"JOURNAL_STREAM", "Set by systemd. If the log goes to the journal, log lines have no timestamp."},
		}},
		{"Files", [][2]string{
			{"sessions.yml", "Session list in the current directory, unless --config.file names another."},
			{"/etc/rufus_exporter/sessions.yml", "Session list in the packages and in the container image."},
			{"/etc/rufus_exporter/environment", "API key and flags of the systemd service."},
			{"/usr/share/rufus_exporter/monitoring/", "Alert rules, dashboard and runbook in the packages."},
		}},
		{"Exit codes", [][2]string{
			{"0", "The exporter was stopped by a signal, or the check passed."},
			{"1", "The exporter failed, for example because the port is in use, or the check failed."},
			{"2", "The exporter crashed. The Go runtime sets this code."},
			{"78", "Wrong usage or configuration (EX_CONFIG). A restart does not help."},
		}},
	}
}

const usageTemplate = `{{range Sections}}
{{.Title}}:
{{.Rows | FormatTwoColumns}}{{end}}`

const manualTemplate = `.TH rufus_exporter 1 "{{BuildDate}}" "rufus_exporter {{Version}}" "User Commands"
.SH NAME
rufus_exporter \- {{About}}
.SH SYNOPSIS
.B rufus_exporter
[\fIflags\fR]
.SH DESCRIPTION
When Prometheus scrapes it, rufus_exporter asks the RUFUS Cloud API for each session in the session list. It exposes
the state of the session, its number of passings and the time of its last passing.
.SH OPTIONS
{{range .App.Flags}}{{if not .Hidden -}}
.TP
.B {{if .Short}}\-{{.Short | Char}}, {{end}}\-\-{{.Name}}{{if not .IsBoolFlag}}={{.FormatPlaceHolder}}{{end}}
{{.Help}}
{{end}}{{end}}{{range Sections -}}
.SH {{.Title | ToUpper}}
{{range .Rows -}}
.TP
.B {{index . 0}}
{{index . 1}}
{{end}}{{end}}`

// addHelp adds the sections to --help and --help-man.
func addHelp(app *kingpin.Application) {
	app.UsageTemplate(kingpin.DefaultUsageTemplate + usageTemplate)
	kingpin.ManPageTemplate = manualTemplate // kingpin has no setter for it
	app.UsageFuncs(template.FuncMap{
		"Sections":  sections,
		"About":     func() string { return strings.TrimSuffix(about, ".") },
		"Version":   func() string { return version.Version },
		"BuildDate": func() string { date, _, _ := strings.Cut(version.BuildDate, "T"); return date },
		"ToUpper":   strings.ToUpper,
	})
}
