package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Source loads a configuration repeatedly, and detects when its files have changed.
//
// When a file system hangs, reads from it never return. So only one goroutine at a time reads files, and callers wait
// for it no longer than readTimeout. While it hangs, no other goroutine is started.
type Source struct {
	load        func() (*Config, error)
	fingerprint func(files []string) fingerprint
	turn        chan struct{} // a semaphore, held from the start of a read until its result is in use or dropped

	mu     sync.Mutex // guards the fields below
	loaded snapshot
	seen   fingerprint // of the files in loaded, at the last call of Changed
}

// readTimeout is how long a caller waits. A reload must fail within seconds, but 10,000 sessions take a few seconds on
// a small machine.
const readTimeout = 10 * time.Second

var (
	errHangs = errors.New("the configuration could not be read within " + readTimeout.String() +
		"; check its file system")
	errStillHangs = errors.New("an earlier attempt to read the configuration has not ended yet; check its file system")
)

// NewSource returns a source that loads configurations with load, which calls Load or Parse.
func NewSource(load func() (*Config, error)) *Source {
	return &Source{load: load, fingerprint: fingerprintOf, turn: make(chan struct{}, 1)}
}

// Load loads the configuration and passes it to use. It calls use for one configuration at a time, in the order in
// which they were read. It returns the error of ctx or of use, an *Error, or an error that says that the file system
// hangs.
func (s *Source) Load(ctx context.Context, use func(*Config) error) error {
	type result struct {
		config *Config
		err    error
	}
	got, err := alone(ctx, s.turn, func() result {
		cfg, err := s.load()
		return result{cfg, err}
	})
	if err != nil {
		if ctx.Err() == nil {
			s.mu.Lock()
			s.loaded.contents = hung
			s.mu.Unlock()
		}
		return err
	}
	defer func() { <-s.turn }()
	s.mu.Lock()
	if failed, ok := errors.AsType[*Error](got.err); ok {
		s.loaded = failed.snapshot
	} else {
		s.loaded = got.config.snapshot
	}
	s.mu.Unlock()
	if got.err != nil {
		return got.err
	}
	return use(got.config)
}

// Changed reports whether the files have changed since the last load and are the same as at the previous call. The
// second condition avoids loading a file that an editor has only half written. If the file system starts or
// stops hanging, that counts as a change.
func (s *Source) Changed(ctx context.Context) bool {
	s.mu.Lock()
	files := s.loaded.Files
	s.mu.Unlock()
	now, err := alone(ctx, s.turn, func() fingerprint { return s.fingerprint(files) })
	switch {
	case err == nil:
		<-s.turn
	case ctx.Err() != nil:
		return false
	default:
		now = hung
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := now != s.loaded.contents && now == s.seen
	s.seen = now
	return changed
}

// alone acquires turn and calls read, and waits for both no longer than readTimeout. If it returns no error, the caller
// must release turn. Otherwise turn is released when read returns.
func alone[T any](ctx context.Context, turn chan struct{}, read func() T) (got T, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, errHangs)
	defer cancel()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		if err = context.Cause(ctx); errors.Is(err, errHangs) {
			err = errStillHangs
		}
		return got, err
	}
	done := make(chan T)
	go func() {
		result := read()
		select {
		case done <- result:
		case <-ctx.Done():
			<-turn
		}
	}()
	select {
	case got = <-done:
		return got, nil
	case <-ctx.Done():
		return got, context.Cause(ctx)
	}
}

// fingerprint is a hash of the contents of files. Unlike modification times, it detects every way to replace a file: in
// place, by a rename, or by a changed symbolic link.
type fingerprint [sha256.Size]byte

// hung is the fingerprint of files whose file system hangs.
var hung = fingerprint(sha256.Sum256([]byte("hung")))

// fingerprintOf returns the fingerprint of the files as they are now.
func fingerprintOf(files []string) fingerprint {
	var now snapshot
	for _, file := range files {
		_, _ = now.file(file)
	}
	return now.contents
}

// snapshot records which files were read.
type snapshot struct {
	// Files are the paths of sessions.yml, then of the key file and the TLS files, even if they could not be read. If the
	// content of one changes, the configuration may change. Do not print them: somebody may have written the key itself in
	// place of its path.
	Files    []string
	contents fingerprint // of Files, at the time they were read
}

// file is readFile. It also records the file in the snapshot.
func (s *snapshot) file(path string) (data []byte, problem string) {
	data, problem = readFile(path)
	if !slices.Contains(s.Files, path) {
		s.Files = append(s.Files, path)
		content := sha256.Sum256(append(data, problem...))
		s.contents = sha256.Sum256(append(s.contents[:], content[:]...))
	}
	return data, problem
}

// readFile returns the content of a regular file of at most maxFile bytes, or what is wrong with it, without its path.
// It refuses directories, pipes and devices, without blocking on them: they may be endless, and a reload could not read
// a pipe again.
func readFile(path string) (data []byte, problem string) {
	// Open first, then check the type: with os.Stat before, the file could be replaced in between.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the files
	if err != nil {
		return nil, unreadable(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, unreadable(err)
	case info.IsDir():
		return nil, "is a directory, not a file"
	case !info.Mode().IsRegular():
		return nil, "is not a regular file"
	}
	data, err = io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, unreadable(err)
	case len(data) > maxFile:
		return nil, fmt.Sprintf("is larger than %d KiB", maxFile>>10)
	}
	return data, ""
}

// unreadable returns the operating system's error, without the path: somebody may have written the key itself in place
// of its path.
func unreadable(err error) string {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	return "cannot be read (" + err.Error() + ")"
}
