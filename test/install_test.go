//go:build unix

package test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What docs/install.md links to and names in this repository is there.
func TestInstallPaths(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	paths := all("[ `]((?:deploy|monitoring)/[\\w./-]+)", text)
	var anchors []string
	for _, heading := range all(`(?m)^##+ (.*)$`, text) {
		anchor := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading), "")
		anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
	}
	for _, link := range all(`\]\(([^)]+)\)`, text) {
		switch {
		case strings.HasPrefix(link, "https://"):
		case strings.HasPrefix(link, "#"):
			if !slices.Contains(anchors, link[1:]) {
				t.Errorf("docs/install.md has no heading for %s", link)
			}
		default:
			paths = append(paths, filepath.Join("docs", link))
		}
	}
	if len(paths) < 5 || len(anchors) < 5 {
		t.Fatalf("%d paths and %d headings", len(paths), len(anchors))
	}
	for _, path := range paths {
		if _, err := os.Stat(filepath.Join("..", path)); err != nil {
			t.Errorf("docs/install.md names %s: %s", path, err)
		}
	}
}
