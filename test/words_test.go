//go:build unix

package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scope says which texts TestWords reads, by patterns of paths relative to the top of the repository. Of Go code that is
// comments, string literals and names; tests are not read.
var scope = []string{
	"*.md",
	"docs/*.md",
	"sessions.yml",
	"monitoring/*",
	"deploy/*",
	"deploy/*/*",
	"deploy/*/*/*",
	"web/*.html",
	"*.go",
	"*/*.go",
	"*/*/*.go",
}

// phrases are regular expressions of what plain English has other words for. A space is any white space, and the beginning
// of the next line of a comment.
var phrases = []struct{ not, but string }{
	{`mend(s|ed|ing)?`, "fix"},
	{`mistakes?`, "error"}, // by mistake is no mistake: see spared
	{`(is|are) told( so| with| in| at|[.,:;])`, "is reported"},
	{`(lay|lays|laid|lying|lie|lies) (\S+ ){0,5}beside`, "copy next to"},
	{`(heeds?|heeded)`, "follow, or pause"},
	{`(say|says|said) whether`, "reports whether"},
	{`fetching fails`, "cannot read session"},
	{`works again`, "session readable again"},
	{`in clear`, "unencrypted"},
	{`is no address`, "is not a valid address"},
	{`are no pair`, "do not match"},
	{`is no text`, "is not valid UTF-8"},
	{`renews? itself`, "refreshes"},
	{`since it is watched`, "since monitoring started"},
	{`may end([.,:;]|$)`, "waiting for … to finish"},
	{`(whichever|thereof|wherein)`, "(rewrite)"},
	{`as it should be`, "(rewrite)"},
}

// spared is good English that contains a phrase.
var spared = regexp.MustCompile(`(?i)\bby[\s#/]+mistake\b`)

// names are words that are neither identifiers nor keys of log attributes.
var names = map[string]string{
	"heed":     "backoff",
	"hurry":    "deadline",
	"want":     "do or fetch",
	"settled":  "done",
	"narrow":   "saturated",
	"cautious": "probing",
	"came":     "added",
	"went":     "removed",
}

// found is a word that has to go: its line, and what to say instead.
type found struct {
	line int
	what string
}

// oddPhrases returns the phrases in a text, with lines counted from 1.
func oddPhrases(text string) (odd []found) {
	text = spared.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("-", len(s)) })
	for _, phrase := range phrases {
		pattern := regexp.MustCompile(`(?im)\b` + strings.ReplaceAll(phrase.not, " ", `[\s#/]+`) + `(?:\b|$|[^\w])`)
		for _, at := range pattern.FindAllStringIndex(text, -1) {
			odd = append(odd, found{
				1 + strings.Count(text[:at[0]], "\n"),
				fmt.Sprintf("%q; say: %s", strings.TrimSpace(text[at[0]:at[1]]), phrase.but),
			})
		}
	}
	return odd
}

// oddGo returns the words in Go code that have to go.
func oddGo(t *testing.T, path, code string) (odd []found) {
	t.Helper()
	files := gotoken.NewFileSet()
	file, err := parser.ParseFile(files, path, code, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	line := func(pos gotoken.Pos) int { return files.Position(pos).Line }
	in := func(pos gotoken.Pos, text string) {
		for _, f := range oddPhrases(text) {
			odd = append(odd, found{line(pos) + f.line - 1, f.what})
		}
	}
	name := func(pos gotoken.Pos, text string) {
		if but, ok := names[strings.ToLower(text)]; ok {
			odd = append(odd, found{line(pos), fmt.Sprintf("the name %s; say: %s", text, but)})
		}
	}
	for _, comment := range file.Comments {
		in(comment.Pos(), comment.Text())
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.Ident:
			name(node.Pos(), node.Name)
		case *ast.BasicLit:
			if node.Kind == gotoken.STRING {
				if text, err := strconv.Unquote(node.Value); err == nil {
					in(node.Pos(), text)
					name(node.Pos(), text)
				}
			}
		}
		return true
	})
	return odd
}

// Public texts, code included, use the words of the field rather than odd ones.
func TestWords(t *testing.T) {
	t.Parallel()
	read := map[string]bool{}
	for _, pattern := range scope {
		paths, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: no files, %v", pattern, err)
		}
		for _, path := range paths {
			path = strings.TrimPrefix(filepath.ToSlash(path), "../")
			if read[path] || !isText(t, path) {
				continue
			}
			read[path] = true
			odd := oddPhrases
			if filepath.Ext(path) == ".go" {
				odd = func(text string) []found { return oddGo(t, path, text) }
			}
			for _, f := range odd(document(t, path)) {
				t.Errorf("%s:%d: %s", path, f.line, f.what)
			}
		}
	}
	if len(read) < 50 {
		t.Errorf("only %d files read", len(read))
	}
}

// isText reports whether TestWords reads a file: no directory, picture, or test.
func isText(t *testing.T, path string) bool {
	t.Helper()
	info, err := os.Stat(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	tested := strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "deploy/test/")
	return info.Mode().IsRegular() && filepath.Ext(path) != ".png" && !tested
}

// What TestWords finds, and what it leaves alone.
func TestOddWordsAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"Only the newest release is mended.":        1,
		"every mistake is told with its line":       2,
		"one mat is closed by\n# mistake":           0,
		"those that are told to wait":               0,
		"Lay rufus.rules.yml beside prometheus.yml": 1,
		"Copy it beside the track":                  0,
		"429 is heeded":                             1,
		"active says\n// whether it is":             1,
		"fetching fails, then works again":          2,
		"sent in clear; is no address; are no pair; byte that is no text; renews itself": 5,
		"since it is watched, as it should be":                                           2,
		"stopping: scrapes in flight may end":                                            1,
		"A key may end with =":                                                           0,
		"whichever part thereof":                                                         2,
		"is cleared":                                                                     0,
	} {
		if odd := oddPhrases(text); len(odd) != want {
			t.Errorf("%q: %v, want %d", text, odd, want)
		}
	}
	code := "package p\n\n// heed says whether.\nvar heed = map[string]int{\"came\": 1, \"what came\": 2}\n"
	var lines []int
	for _, f := range oddGo(t, "p.go", code) {
		lines = append(lines, f.line)
	}
	slices.Sort(lines)
	if !slices.Equal(lines, []int{3, 3, 4, 4}) {
		t.Errorf("lines %v of:\n%s", lines, code)
	}
}
