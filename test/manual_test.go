//go:build unix

package test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"rufus_exporter/config"
)

// What is not a flag is explained by --help and by the manual page too.
func TestHelpBeyondFlags(t *testing.T) {
	t.Parallel()
	for flag, sections := range map[string][]string{
		"--help":     {"\nEnvironment:\n", "\nFiles:\n", "\nExit codes:\n"},
		"--help-man": {"\n.SH ENVIRONMENT\n", "\n.SH FILES\n", "\n.SH EXIT CODES\n"},
	} {
		_, text, _ := runs(t, "", flag)
		environment, exits := sections[0], sections[2]
		for _, section := range sections {
			if strings.Count(text, section) != 1 {
				t.Errorf("%s lacks %q", flag, section)
			}
		}
		_, after, _ := strings.Cut(text, environment)
		for _, name := range []string{config.KeyVariable, config.KeyFileVariable, "/etc/rufus_exporter/sessions.yml"} {
			if !regexp.MustCompile(`(?m)^(  |\.B )` + name + `\b`).MatchString(after) {
				t.Errorf("%s does not explain %s", flag, name)
			}
		}
		_, after, _ = strings.Cut(text, exits)
		for _, code := range []int{exitStopped, exitFailed, 2, exitUsage} {
			if !regexp.MustCompile(fmt.Sprintf(`(?m)^(  |\.B )%d\b`, code)).MatchString(after) {
				t.Errorf("%s does not explain exit code %d", flag, code)
			}
		}
	}
}

// Without a version stamped into the build, the header of the manual page has no date.
func TestManualHeader(t *testing.T) {
	t.Parallel()
	_, manual, _ := runs(t, "", "--help-man")
	want := `.TH rufus_exporter 1 "" "rufus_exporter devel" "User Commands"
.SH NAME
rufus_exporter \- Prometheus exporter for race timing sessions of the RUFUS Cloud API
.SH SYNOPSIS
`
	if !strings.HasPrefix(manual, want) {
		t.Errorf("the manual page begins with %q, want %q", manual[:min(len(manual), len(want))], want)
	}
}
