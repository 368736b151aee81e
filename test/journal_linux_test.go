package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The journal adds a time of its own to every line. systemd says by device and inode which stream leads there.
func TestLogTimeInJournal(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	for name, test := range map[string]struct {
		format string
		inode  int // added to that of standard error
		set    bool
		begins string // each line of the log
	}{
		"no journal":               {"logfmt", 0, false, "time="},
		"journal":                  {"logfmt", 0, true, "level="},
		"journal, json":            {"json", 0, true, `{"level":`},
		"another stream's journal": {"logfmt", 1, true, "time="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "sessions.yml"), valid)
			log, err := os.Create(filepath.Join(dir, "log"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = log.Close() }()
			cmd := command(t, dir, "--log.format="+test.format, "--web.listen-address="+busy.Addr().String())
			cmd.Stderr = log
			if test.set {
				info, err := log.Stat()
				if err != nil {
					t.Fatal(err)
				}
				stat, ok := info.Sys().(*syscall.Stat_t)
				if !ok {
					t.Fatalf("no Stat_t: %T", info.Sys())
				}
				cmd.Env = append(cmd.Env, fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino+uint64(test.inode)))
			} else {
				cmd.Env = append(cmd.Env, "JOURNAL_STREAM=")
			}
			_ = cmd.Run() // it cannot listen
			lines, err := os.ReadFile(log.Name())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(lines), "in use") {
				t.Fatalf("unexpected log:\n%s", lines)
			}
			for line := range strings.Lines(string(lines)) {
				if !strings.HasPrefix(line, test.begins) {
					t.Errorf("the line does not begin with %s: %s", test.begins, line)
				}
			}
		})
	}
}
