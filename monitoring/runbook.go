// Package monitoring holds what of this directory the program carries: the runbook.
package monitoring

import _ "embed" // the runbook

// Runbook is runbook.md.
//
//go:embed runbook.md
var Runbook string
