package e2e

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The queries in the documentation answer something when Prometheus watches the demo as the README says.
func TestDocumentedQueries(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, path := range append(files, "../README.md") {
		queries = append(queries, promQLBlocks(t, path)...)
	}
	if len(queries) < 6 {
		t.Fatalf("only %d queries found: %q", len(queries), queries)
	}
	e := startProgram(t, "--demo")
	rules := file(t, "rufus.rules.yml", replaced(t, readFile(t, rulesFile), "interval: 15s", "interval: 3s"))
	p := startPrometheus(t, replaced(t, documented(t, "../README.md", e.address, ""),
		"scrape_interval: 15s", "scrape_interval: 3s", "scrape_timeout: 10s", "scrape_timeout: 3s")+
		"\nrule_files: ["+rules+"]\n")
	for _, query := range queries {
		eventually(t, query, func() error {
			for _, sample := range p.query(t, query) {
				if value := float64(sample.Value); !math.IsNaN(value) && !math.IsInf(value, 0) {
					return nil
				}
			}
			return errors.New("no value")
		})
	}
	p.checkWarnings(t)
}

// What the README adds to prometheus.yml for alerts is valid next to what it begins with, and to the rules.
func TestReadmeAlerting(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?ms)^   ```yaml\n(   rule_files:.*?)^   ```$").FindAllStringSubmatch(readFile(t, "../README.md"), -1)
	if len(blocks) != 1 {
		t.Fatalf("%d blocks with rule_files in the README", len(blocks))
	}
	alerting := strings.ReplaceAll("\n"+blocks[0][1], "\n   ", "\n")
	path := file(t, "prometheus.yml", documented(t, "../README.md", "localhost:10210", "")+alerting)
	rules := filepath.Join(filepath.Dir(path), "rufus.rules.yml")
	if err := os.WriteFile(rules, []byte(readFile(t, rulesFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	report := run(t, nil, tool(t, "promtool"), "check", "config", path)
	if !strings.Contains(report, "SUCCESS: 1 rule files found") {
		t.Errorf("promtool check config: %s", report)
	}
}

// promQLBlocks returns the queries of a Markdown file: those in code blocks of PromQL, with an empty line between two.
func promQLBlocks(t *testing.T, path string) (queries []string) {
	t.Helper()
	comment := regexp.MustCompile(`(?m)^#.*\n`)
	for _, block := range regexp.MustCompile("(?ms)^```promql\n(.*?)^```$").FindAllStringSubmatch(readFile(t, path), -1) {
		for query := range strings.SplitSeq(block[1], "\n\n") {
			queries = append(queries, strings.TrimSpace(comment.ReplaceAllString(query, "")))
		}
	}
	return queries
}
