package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a source that reads real files.
type watched struct {
	*Source
	t     *testing.T
	dir   string
	loads int
	inUse string // the key and the names
	err   error  // of the last load
}

// watch calls set to create a sessions.yml, and returns a source of it after the first load.
func watch(t *testing.T, set func(w *watched)) *watched {
	t.Helper()
	w := &watched{t: t, dir: t.TempDir()}
	set(w)
	w.Source = NewSource(func() (*Config, error) {
		w.loads++
		return Load(w.path("sessions.yml"))
	})
	if w.reload(); w.err != nil {
		t.Fatal(w.err)
	}
	return w
}

// look does what the program does at every interval.
func (w *watched) look() {
	w.t.Helper()
	if w.Changed(w.t.Context()) {
		w.reload()
	}
}

func (w *watched) reload() {
	w.t.Helper()
	w.err = w.Load(w.t.Context(), func(cfg *Config) error {
		w.inUse = cfg.API.Key.Reveal()
		for _, s := range cfg.Sessions {
			w.inUse += " " + s.Name
		}
		return nil
	})
}

func (w *watched) path(name string) string { return filepath.Join(w.dir, name) }

// write replaces a file's content in place.
func (w *watched) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// replace replaces a file or link by a new one, atomically.
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

// expect checks which configuration is in use, by its key and its names, and whether the last load succeeded.
func (w *watched) expect(when, inUse string, succeeded bool) {
	w.t.Helper()
	if w.inUse != inUse {
		w.t.Errorf("%s: %q is in use, want %q", when, w.inUse, inUse)
	}
	if (w.err == nil) != succeeded {
		w.t.Errorf("%s: the last error is %v", when, w.err)
	}
}

// list returns a sessions.yml with an API key and sessions of these names.
func list(key string, names ...string) string {
	text := "api: {" + key + "}\nsessions:\n"
	for _, name := range names {
		text += fmt.Sprintf("  - {name: %s, token: token-of-session-%s}\n", name, name)
	}
	return text
}

// Every way to change a file is detected. The file is loaded once two checks in a row have found the same content.
func TestChanges(t *testing.T) {
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

// A file that is cut in the middle can be valid.
func TestHalfWrittenFile(t *testing.T) {
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

func TestBrokenFiles(t *testing.T) {
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
	fixed := func(when string) {
		t.Helper()
		w.look()
		w.look()
		w.expect(when, "k1 a", true)
	}
	broken("no YAML", "sessions: [")
	broken("no YAML either", "sessions: {")
	w.write("sessions.yml", list("key: k1", "a"))
	fixed("as it was")

	if err := os.Remove(w.path("sessions.yml")); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.look()
	w.expect("removed", "k1 a", false)
	w.write("sessions.yml", list("key: k1", "a"))
	fixed("back again")

	broken("names a missing key_file", list("key_file: key", "a"))
	w.write("key", "k1")
	fixed("the key_file appeared")
}

// A change between reading a file and recording its fingerprint is not missed.
func TestChangeWhileLoading(t *testing.T) {
	t.Parallel()
	w := watch(t, func(w *watched) { w.write("sessions.yml", list("key: k1", "a")) })
	load := w.load
	w.load = func() (*Config, error) {
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

// hanging is a source whose file system hangs on request.
type hanging struct {
	*Source
	hangs   atomic.Bool
	readers atomic.Int32 // concurrent reads
	release chan struct{}
}

func newHanging() *hanging {
	h := &hanging{release: make(chan struct{})}
	wait := func() {
		h.readers.Add(1)
		defer h.readers.Add(-1)
		if h.hangs.Load() {
			<-h.release
		}
	}
	h.Source = NewSource(func() (*Config, error) {
		wait()
		return &Config{snapshot: snapshot{Files: []string{"sessions.yml"}}}, nil
	})
	h.fingerprint = func([]string) fingerprint {
		wait()
		return fingerprint{}
	}
	return h
}

// If a file system hangs, a load fails within seconds, and there is only one reader. When it answers again, loads
// succeed.
func TestHangingFileSystem(t *testing.T) {
	t.Parallel()
	use := func(*Config) error { return nil }
	synctest.Test(t, func(t *testing.T) {
		h := newHanging()
		if err := h.Load(t.Context(), use); err != nil {
			t.Fatal(err)
		}
		h.hangs.Store(true)
		want := errHangs
		for range 3 {
			begin := time.Now()
			if err := h.Load(t.Context(), func(*Config) error { panic("used") }); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			if took := time.Since(begin); took != readTimeout {
				t.Errorf("it took %s", took)
			}
			if n := h.readers.Load(); n != 1 {
				t.Errorf("%d readers", n)
			}
			want = errStillHangs
		}
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		begin := time.Now()
		if err := h.Load(ctx, use); !errors.Is(err, context.Canceled) || time.Since(begin) != time.Second {
			t.Errorf("shutting down: got %v after %s", err, time.Since(begin))
		}
		if h.Changed(ctx) {
			t.Error("shutting down is a change")
		}

		h.hangs.Store(false)
		close(h.release)
		synctest.Wait()
		if err := h.Load(t.Context(), use); err != nil {
			t.Error(err)
		}
		for range 2 {
			if h.Changed(t.Context()) {
				t.Error("changed although it was loaded")
			}
		}
	})
}

// A file system that starts to hang counts as one change. So does its recovery.
func TestChangesOfHangingFileSystem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHanging()
		look := func() (reloads int, err error) {
			for range 4 {
				if h.Changed(t.Context()) {
					reloads++
					err = h.Load(t.Context(), func(*Config) error { return nil })
				}
			}
			return reloads, err
		}
		if err := h.Load(t.Context(), func(*Config) error { return nil }); err != nil {
			t.Fatal(err)
		}
		h.hangs.Store(true)
		if reloads, err := look(); reloads != 1 || !errors.Is(err, errStillHangs) {
			t.Errorf("hanging: %d reloads, %v", reloads, err)
		}
		h.hangs.Store(false)
		close(h.release)
		synctest.Wait()
		if reloads, err := look(); reloads != 1 || err != nil {
			t.Errorf("back: %d reloads, %v", reloads, err)
		}
	})
}
