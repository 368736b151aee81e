package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"sync"
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
	loaded fingerprint // of files, as the last load found them
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
	files := s.watched()
	got, err := alone(ctx, s.turn, func() snapshot { return s.read(files) })
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
	s.files, s.loaded = got.files, got.sum
	s.mu.Unlock()
	if got.err != nil {
		return got.err
	}
	return use(got.config)
}

// Changed reports whether the files are not as they were loaded and two calls in a row found the same: a list that an
// editor has half written can be valid. A file system that hangs is a change too, and so is its return.
func (s *Source) Changed(ctx context.Context) bool {
	files := s.watched()
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

func (s *Source) watched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files
}

// snapshot is the result of one load.
type snapshot struct {
	config *Config
	err    error
	files  []string
	sum    fingerprint // of files, from before they were read: what changes from then on is a change
}

// read loads the configuration. Which files it consists of, only reading tells, so it reads again if they are others.
func (s *Source) read(files []string) snapshot {
	for {
		sum := s.fingerprint(files)
		cfg, err := s.load()
		found := filesOf(cfg, err)
		if found == nil || slices.Equal(found, files) {
			return snapshot{cfg, err, files, sum}
		}
		files = found
	}
}

// filesOf returns the files that cfg was read from, or that err is about.
func filesOf(cfg *Config, err error) []string {
	var failed *Error
	switch {
	case cfg != nil:
		return cfg.Files
	case errors.As(err, &failed):
		return failed.Files
	default:
		return nil
	}
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

func fingerprintOf(files []string) (sum fingerprint) {
	all := sha256.New()
	for _, file := range files {
		one := sha256.New()
		if err := hash(one, file); err != nil {
			_, _ = io.WriteString(one, err.Error())
		}
		all.Write(one.Sum(nil))
	}
	all.Sum(sum[:0])
	return sum
}

// hash writes the content of a file to sum, if it is one that a configuration can be read from.
func hash(sum io.Writer, path string) error {
	file, err := open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = io.Copy(sum, io.LimitReader(file, maxFile+1))
	return err
}
