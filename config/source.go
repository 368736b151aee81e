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

// Source is a configuration that can be loaded again and again, and that knows when its files have changed.
//
// A file system can hang: what reads from it then never returns. So files are read by one goroutine at a time, and
// nobody waits for it longer than readTimeout. While it hangs, no other is started.
type Source struct {
	load        func() (*Config, error)
	fingerprint func(files []string) fingerprint
	turn        chan struct{} // held from the beginning of a read until its result is in use, or dropped

	mu     sync.Mutex // guards what follows
	files  []string
	loaded fingerprint // of files, as the last load read them
	seen   fingerprint // of files, as the last look found them
}

// readTimeout bounds the wait: a reload has to fail within seconds, but 10,000 sessions take some on a small machine.
const readTimeout = 10 * time.Second

var (
	errHangs = errors.New("the configuration could not be read within " + readTimeout.String() +
		"; check the file system that it is on")
	errStillHangs = errors.New("an earlier attempt to read the configuration has not ended yet; " +
		"check the file system that it is on")
)

// NewSource returns a source of what load returns: the result of Load or Parse.
func NewSource(load func() (*Config, error)) *Source {
	return &Source{load: load, fingerprint: fingerprintOf, turn: make(chan struct{}, 1)}
}

// Load loads the configuration and passes it to use. Configurations are used one at a time, in the order in which they
// were read. The error is that of ctx, an *Error, that of use, or says that the file system hangs.
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
			s.loaded = hung
			s.mu.Unlock()
		}
		return err
	}
	defer func() { <-s.turn }()
	s.mu.Lock()
	if failed, ok := errors.AsType[*Error](got.err); ok {
		s.files, s.loaded = failed.Files, failed.contents
	} else {
		s.files, s.loaded = got.config.Files, got.config.contents
	}
	s.mu.Unlock()
	if got.err != nil {
		return got.err
	}
	return use(got.config)
}

// Changed reports whether the files are not as they were loaded and two calls in a row found the same: a list that an
// editor has half written can be valid. A file system that hangs is a change too, and so is its return.
func (s *Source) Changed(ctx context.Context) bool {
	s.mu.Lock()
	files := s.files
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
	changed := now != s.loaded && now == s.seen
	s.seen = now
	return changed
}

// alone waits for its turn and for read, both together no longer than readTimeout. If it returns no error, the turn has
// to be given back by the caller; otherwise it is given back when read returns.
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

// fingerprint is a hash over the contents of files: saving in place, renaming over and swapping a link all change it.
type fingerprint [sha256.Size]byte

// hung stands for files that cannot be read because their file system hangs.
var hung = fingerprint(sha256.Sum256([]byte("hung")))

// fingerprintOf returns what the files hold now.
func fingerprintOf(files []string) fingerprint {
	var now snapshot
	for _, file := range files {
		_, _ = now.file(file)
	}
	return now.contents
}

// snapshot is what was read.
type snapshot struct {
	files    []string
	contents fingerprint // of files as they were when they were read: what changes from then on is a change
}

// file returns the content of a file or what is wrong with it, as readFile does, and adds either to the snapshot.
func (s *snapshot) file(path string) (data []byte, problem string) {
	data, problem = readFile(path)
	if !slices.Contains(s.files, path) {
		s.files = append(s.files, path)
		content := sha256.Sum256(append(data, problem...))
		s.contents = sha256.Sum256(append(s.contents[:], content[:]...))
	}
	return data, problem
}

// readFile returns the content of a regular file of at most maxFile bytes, or what is wrong with it, without its path.
// Directories, pipes and devices are refused, without waiting for anybody: they would block, need not end, and cannot
// be read again on a reload.
func readFile(path string) (data []byte, problem string) {
	// What is opened is what is looked at: the name may be given to something else in between.
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

// unreadable says what the operating system says, without the path: somebody may have put the key itself there.
func unreadable(err error) string {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	return "cannot be read (" + err.Error() + ")"
}
