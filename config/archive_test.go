package config

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// After an intended change: go test ./config -update, then check the git diff.
var update = flag.Bool("update", false, "write what is returned into the golden files")

// archive is a txtar file in testdata. It has cases as NAME.yml, the expected results as NAME.txt, and the files that
// the cases refer to. To add a case, add its .yml and run the tests with -update. The content of a file whose name ends
// with .quoted is a Go string.
type archive struct {
	t     testing.TB
	path  string
	names []string // in the file's order
	files map[string]string
}

var header = regexp.MustCompile(`^-- (.+) --\n$`)

func openArchive(t testing.TB, path string) *archive {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{t: t, path: path, files: map[string]string{}}
	for line := range strings.Lines(string(data)) {
		if match := header.FindStringSubmatch(line); match != nil {
			a.names = append(a.names, match[1])
			a.files[match[1]] = ""
			continue
		}
		a.files[a.names[len(a.names)-1]] += line
	}
	return a
}

// unpack returns the files by name, unquoted.
func (a *archive) unpack() map[string]string {
	a.t.Helper()
	files := make(map[string]string, len(a.files))
	for name, content := range a.files {
		if plain, quoted := strings.CutSuffix(name, ".quoted"); quoted {
			unquoted, err := strconv.Unquote(strings.TrimSpace(content))
			if err != nil {
				a.t.Fatalf("%s: %s: %v", a.path, name, err)
			}
			name, content = plain, unquoted
		}
		files[name] = content
	}
	return files
}

// archives unpacks each archive into its own directory and calls result with the path of every case. The result,
// without the directory, must be as expected.
func archives(t *testing.T, pattern string, result func(t *testing.T, path string) string) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	for _, path := range paths {
		a := openArchive(t, path)
		dir, files := t.TempDir(), a.unpack()
		for name, content := range files {
			write(t, dir, name, content)
		}
		var updated strings.Builder
		for _, packed := range a.names {
			name := strings.TrimSuffix(packed, ".quoted")
			stem, isCase := strings.CutSuffix(name, ".yml")
			if _, golden := files[strings.TrimSuffix(name, ".txt")+".yml"]; golden && strings.HasSuffix(name, ".txt") {
				continue // written after its case
			}
			updated.WriteString("-- " + packed + " --\n" + a.files[packed])
			if !isCase {
				continue
			}
			got := files[stem+".txt"]
			t.Run(name, func(t *testing.T) {
				got = strings.ReplaceAll(result(t, filepath.Join(dir, name)), dir+string(filepath.Separator), "")
				if want, ok := files[stem+".txt"]; !*update && (!ok || got != want) {
					t.Errorf("got:\n%s\nwant, from %s:\n%s", got, path, want)
				}
			})
			updated.WriteString("-- " + stem + ".txt --\n" + got)
		}
		if *update && !t.Failed() {
			if err := os.WriteFile(path, []byte(updated.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
