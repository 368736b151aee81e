package test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rufus_exporter/simulator"
)

// fuse is a file system of one file, whose reads hang while it is told to. It speaks the kernel's protocol,
// <linux/fuse.h> version 7.31, as far as a program needs that reads a file.
type fuse struct {
	dir, file string
	fd        int

	mu      sync.Mutex
	content string
	hanging bool
	pending []uint64 // reads that hang
}

// mountFUSE mounts one until the test ends, or skips the test where that is not allowed.
func mountFUSE(t *testing.T, content string) *fuse {
	t.Helper()
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no FUSE: %v", err)
	}
	f := &fuse{dir: t.TempDir(), fd: fd, content: content}
	f.file = filepath.Join(f.dir, "sessions.yml")
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d", fd, os.Getuid(), os.Getgid())
	if err := syscall.Mount("test", f.dir, "fuse", 0, options); err != nil {
		_ = syscall.Close(fd)
		t.Skipf("no FUSE: %v", err)
	}
	var serving sync.WaitGroup
	serving.Go(f.serve)
	t.Cleanup(func() {
		f.hang(false)
		if err := syscall.Unmount(f.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
		serving.Wait()
		_ = syscall.Close(fd)
	})
	return f
}

// hang lets reads hang from now on, or answers them and those that do.
func (f *fuse) hang(hanging bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hanging = hanging
	if hanging {
		return
	}
	for _, request := range f.pending {
		f.reply(request, 0, []byte(f.content))
	}
	f.pending = nil
}

// reading returns how many reads hang.
func (f *fuse) reading() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pending)
}

// serve answers the kernel until the file system is unmounted.
func (f *fuse) serve() {
	const lookup, forget, getattr, open, read, release, flush, initialize, interrupt = 1, 2, 3, 14, 15, 18, 25, 26, 36
	request := make([]byte, 1<<20)
	for {
		n, err := syscall.Read(f.fd, request)
		switch {
		case err == syscall.ENODEV:
			return
		case err != nil:
			continue
		}
		opcode, unique := binary.NativeEndian.Uint32(request[4:]), binary.NativeEndian.Uint64(request[8:])
		node, in := binary.NativeEndian.Uint64(request[16:]), request[40:n]
		f.mu.Lock()
		switch opcode {
		case initialize:
			f.reply(unique, 0, binary.NativeEndian.AppendUint32(nil, 7), u32(31, 0, 0, 0, 1<<16, 0, 0), make([]byte, 32))
		case lookup:
			f.reply(unique, 0, u64(2, 0, 0, 0), u64(0), f.attributes(2))
		case getattr:
			f.reply(unique, 0, u64(0, 0), f.attributes(node))
		case open:
			f.reply(unique, 0, u64(0), u32(1, 0)) // nothing is cached
		case read:
			switch offset := binary.NativeEndian.Uint64(in[8:]); {
			case f.hanging:
				f.pending = append(f.pending, unique)
			case offset == 0:
				f.reply(unique, 0, []byte(f.content))
			default:
				f.reply(unique, 0)
			}
		case release, flush:
			f.reply(unique, 0)
		case interrupt: // by a signal: the process may be about to end
			interrupted := binary.NativeEndian.Uint64(in)
			if i := slices.Index(f.pending, interrupted); i >= 0 {
				f.pending = slices.Delete(f.pending, i, i+1)
				f.reply(interrupted, -int32(syscall.EINTR))
			}
		case forget: // without an answer
		default:
			f.reply(unique, -int32(syscall.ENOSYS))
		}
		f.mu.Unlock()
	}
}

func u32(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func u64(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

// attributes returns those of the root, node 1, or the file.
func (f *fuse) attributes(node uint64) []byte {
	mode := uint32(syscall.S_IFREG | 0o400)
	if node == 1 {
		mode = syscall.S_IFDIR | 0o700
	}
	return append(u64(node, uint64(len(f.content)), 1, 0, 0, 0),
		u32(0, 0, 0, mode, 1, uint32(os.Getuid()), uint32(os.Getgid()), 0, 512, 0)...)
}

func (f *fuse) reply(unique uint64, failure int32, parts ...[]byte) {
	body := bytes.Join(parts, nil)
	header := append(u32(uint32(16+len(body)), uint32(failure)), u64(unique)...)
	_, _ = syscall.Write(f.fd, append(header, body...))
}

// A link to a file whose reads hang: reloads fail within seconds and say why, scrapes and the end are not held up, and
// no attempt leaves anything behind. When the file system answers again, all is well.
func TestFileSystemThatHangs(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, healthy)
	f := mountFUSE(t, settings(api.url)+"  - {name: a, token: "+simulator.ID("a")+"}\n")
	dir := t.TempDir()
	if err := os.Symlink(f.file, filepath.Join(dir, "sessions.yml")); err != nil {
		t.Fatal(err)
	}
	e := &exporter{t: t}
	e.run(command(t, dir, "--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle",
		"--config.auto-reload-interval=100ms"))
	e.scrape("/metrics").expect(t, series{up("a"): "1", reloaded: "1"})
	e.usage()
	before := e.usage()

	f.hang(true)
	for range 2 {
		begin := time.Now()
		status, body := e.reload()
		if status != http.StatusInternalServerError || !strings.Contains(body, "file system") {
			t.Errorf("status %d: %s", status, body)
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("the reload took %s", took)
		}
		e.scrape("/metrics").expect(t, series{up("a"): "1", reloaded: "0"})
		if n := f.reading(); n != 1 {
			t.Errorf("%d reads hang", n)
		}
		// The one that hangs, the next look at the file, and what serves this scrape on another connection.
		if now := e.usage(); now.goroutines > before.goroutines+4 {
			t.Errorf("%v goroutines, before it hung %v", now.goroutines, before.goroutines)
		}
	}
	f.hang(false)
	e.eventually(series{reloaded: "1"})

	f.hang(true)
	for f.reading() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	e.signal(syscall.SIGHUP)
	e.signal(syscall.SIGTERM)
	begin := time.Now()
	if code := e.exitCode(); code != exitStopped || time.Since(begin) > 5*time.Second {
		t.Errorf("exit code %d after %s", code, time.Since(begin))
	}
}
