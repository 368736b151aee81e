package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"rufus_exporter/config"
)

// watched is a reloader of real files.
type watched struct {
	*reloader
	t     *testing.T
	dir   string
	log   strings.Builder
	loads int
}

// watch returns a reloader of the sessions.yml that set makes, loaded for the first time.
func watch(t *testing.T, set func(w *watched)) *watched {
	t.Helper()
	w := &watched{t: t, dir: t.TempDir()}
	set(w)
	w.reloader = newReloader(func() (*config.Config, error) {
		w.loads++
		return config.Load(w.path("sessions.yml"))
	}, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&w.log, nil)))
	if err := w.reload(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watched) path(name string) string { return filepath.Join(w.dir, name) }

// write replaces a file's content in place.
func (w *watched) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// replace puts a new file or link in the place of an old one, in one step.
func (w *watched) replace(name string, create func(path string) error) {
	w.t.Helper()
	temporary := w.path(name + ".new")
	if err := create(temporary); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(temporary, w.path(name)); err != nil {
		w.t.Fatal(err)
	}
}

// expect checks which configuration is in use, by its key and its names, and what the metrics and the page say of
// the last attempt to load one.
func (w *watched) expect(when, inUse string, succeeded bool) {
	w.t.Helper()
	w.mu.Lock()
	got := w.cfg.API.Key.Reveal()
	w.mu.Unlock()
	for _, entry := range w.sessions().Entries() {
		got += " " + entry.Name
	}
	if got != inUse {
		w.t.Errorf("%s: %q is in use, want %q", when, got, inUse)
	}
	if (w.lastError() == nil) != succeeded || (testutil.ToFloat64(w.success) == 1) != succeeded {
		w.t.Errorf("%s: the last error is %v and the metric %v", when, w.lastError(), testutil.ToFloat64(w.success))
	}
}

// list is a sessions.yml with an API key and sessions of these names.
func list(key string, names ...string) string {
	text := "api: {" + key + "}\nsessions:\n"
	for _, name := range names {
		text += fmt.Sprintf("  - {name: %s, token: token-of-session-%s}\n", name, name)
	}
	return text
}

// Every way in which a file changes is seen, and acted upon once two looks in a row have seen the same.
func TestLook(t *testing.T) {
	t.Parallel()
	fresh := func(name, content string) func(*watched) {
		return func(w *watched) { w.write(name, content) }
	}
	for name, test := range map[string]struct {
		set, change func(*watched)
		want        string
	}{
		"saved in place": {
			fresh("sessions.yml", list("key: k1", "a")),
			fresh("sessions.yml", list("key: k1", "b")), "k1 b",
		},
		"saved with the same length and time": {
			fresh("sessions.yml", list("key: k1", "a")),
			func(w *watched) {
				info, err := os.Stat(w.path("sessions.yml"))
				if err != nil {
					t.Fatal(err)
				}
				w.write("sessions.yml", list("key: k1", "b"))
				if err := os.Chtimes(w.path("sessions.yml"), info.ModTime(), info.ModTime()); err != nil {
					t.Fatal(err)
				}
			}, "k1 b",
		},
		"renamed over": {
			fresh("sessions.yml", list("key: k1", "a")),
			func(w *watched) {
				w.replace("sessions.yml", func(path string) error {
					return os.WriteFile(path, []byte(list("key: k1", "b")), 0o600)
				})
			}, "k1 b",
		},
		"link swapped, as Kubernetes does": {
			func(w *watched) {
				if err := os.Mkdir(w.path("v1"), 0o700); err != nil {
					t.Fatal(err)
				}
				w.write("v1/sessions.yml", list("key: k1", "a"))
				if err := os.Symlink("v1", w.path("..data")); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(filepath.Join("..data", "sessions.yml"), w.path("sessions.yml")); err != nil {
					t.Fatal(err)
				}
			},
			func(w *watched) {
				if err := os.Mkdir(w.path("v2"), 0o700); err != nil {
					t.Fatal(err)
				}
				w.write("v2/sessions.yml", list("key: k1", "b"))
				w.replace("..data", func(path string) error { return os.Symlink("v2", path) })
			}, "k1 b",
		},
		"key rotated": {
			func(w *watched) {
				w.write("key", "k1\n")
				w.write("sessions.yml", list("key_file: key", "a"))
			},
			fresh("key", "k2\n"), "k2 a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t, test.set)
			w.look()
			w.look()
			test.change(w)
			w.look()
			w.expect("seen once", "k1 a", true)
			w.look()
			w.expect("seen twice", test.want, true)
			loads := w.loads
			w.look()
			w.look()
			if w.loads != loads {
				t.Error("loaded again without a change")
			}
		})
	}
}

// A list that is cut in the middle can be valid.
func TestLookWaitsForTheWholeFile(t *testing.T) {
	t.Parallel()
	w := watch(t, func(w *watched) { w.write("sessions.yml", list("key: k1", "a", "b")) })
	w.write("sessions.yml", list("key: k1", "c"))
	w.look()
	w.write("sessions.yml", list("key: k1", "c", "d"))
	w.look()
	w.expect("just written to its end", "k1 a b", true)
	w.look()
	w.expect("seen twice", "k1 c d", true)
}

func TestLookAtBrokenFiles(t *testing.T) {
	t.Parallel()
	w := watch(t, func(w *watched) { w.write("sessions.yml", list("key: k1", "a")) })
	broken := func(when, content string) {
		t.Helper()
		w.write("sessions.yml", content)
		w.look()
		w.look()
		w.expect(when, "k1 a", false)
		loads := w.loads
		w.look()
		w.look()
		if w.loads != loads {
			t.Errorf("%s: tried again without a change", when)
		}
	}
	mended := func(when string) {
		t.Helper()
		w.look()
		w.look()
		w.expect(when, "k1 a", true)
	}
	broken("no YAML", "sessions: [")
	broken("no YAML either", "sessions: {")
	w.write("sessions.yml", list("key: k1", "a"))
	mended("as it was")

	if err := os.Remove(w.path("sessions.yml")); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.look()
	w.expect("removed", "k1 a", false)
	w.write("sessions.yml", list("key: k1", "a"))
	mended("back again")

	broken("names a missing key_file", list("key_file: key", "a"))
	w.write("key", "k1")
	mended("the key_file appeared")
}

// A change between the reading of a file and the note of its state must not go unseen.
func TestChangeWhileLoading(t *testing.T) {
	t.Parallel()
	w := watch(t, func(w *watched) { w.write("sessions.yml", list("key: k1", "a")) })
	load := w.load
	w.load = func() (*config.Config, error) {
		cfg, err := load()
		w.write("key", "k2")
		return cfg, err
	}
	w.write("key", "k1")
	w.write("sessions.yml", list("key_file: key", "a"))
	w.look()
	w.look()
	w.load = load
	w.look()
	w.look()
	w.expect("changed while it was loaded", "k2 a", true)
}

// What the API section says decides whether connections, answers and waits are kept; names that came and went are
// logged.
func TestReload(t *testing.T) {
	t.Parallel()
	w := watch(t, func(w *watched) { w.write("sessions.yml", list("key: k1", "a", "b")) })
	first := w.sessions().Fetcher()
	w.write("sessions.yml", list("key: k1", "b", "c", "d"))
	if err := w.reload(); err != nil {
		t.Fatal(err)
	}
	if w.sessions().Fetcher() != first {
		t.Error("a new client although the API is the same")
	}
	if !strings.Contains(w.log.String(), `sessions=3 came="[c d]" went=[a]`) {
		t.Errorf("the log does not say which names came and went:\n%s", &w.log)
	}
	w.write("sessions.yml", list("key: k2", "b", "c", "d"))
	if err := w.reload(); err != nil {
		t.Fatal(err)
	}
	if w.sessions().Fetcher() == first {
		t.Error("the old client although the key has changed")
	}
}

// The key and the tokens go in clear to an API without TLS, which matters unless it is on this machine.
func TestWarningOfClearText(t *testing.T) {
	t.Parallel()
	for url, warns := range map[string]bool{
		"https://api.example/v0":    false,
		"http://api.example/v0":     true,
		"http://192.0.2.1:8080":     true,
		"http://localhost:8080/v0":  false,
		"http://127.8.0.1/v0":       false,
		"http://[::1]:8080/v0":      false,
		"http://localhost.example/": true,
	} {
		w := watch(t, func(w *watched) { w.write("sessions.yml", list(`key: k1, url: "`+url+`"`, "a")) })
		if strings.Contains(w.log.String(), "level=WARN") != warns {
			t.Errorf("%s: %s", url, &w.log)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		interval time.Duration
		in30s    string
		in60s    string
	}{
		{0, "k1 a", "k1 a"},
		{30 * time.Second, "k1 a", "k1 b"},
		{10 * time.Second, "k1 b", "k1 b"},
	} {
		t.Run(test.interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, func(w *watched) { w.write("sessions.yml", list("key: k1", "a")) })
				ctx, stop := context.WithCancel(t.Context())
				hangUp := make(chan os.Signal)
				go w.watch(ctx, hangUp, test.interval)
				w.write("sessions.yml", list("key: k1", "b"))
				time.Sleep(30*time.Second + 1)
				synctest.Wait()
				w.expect("after 30 s", test.in30s, true)
				time.Sleep(30 * time.Second)
				synctest.Wait()
				w.expect("after 60 s", test.in60s, true)

				w.write("sessions.yml", list("key: k1", "c"))
				hangUp <- syscall.SIGHUP
				synctest.Wait()
				w.expect("after SIGHUP", "k1 c", true)
				stop()
			})
		})
	}
}
