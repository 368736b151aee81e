package main

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

// A log that nobody reads holds up nobody, and what was read is whole and in order.
func TestLogWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader, pipe := io.Pipe()
		w := newLogWriter(pipe)
		for range 3 * logLines {
			if _, err := io.WriteString(w, "line\n"); err != nil {
				t.Fatal(err)
			}
		}
		w.close() // gives up
		read := make(chan string)
		go func() {
			text, _ := io.ReadAll(reader)
			read <- string(text)
		}()
		synctest.Wait()
		w.close()
		_ = pipe.Close()
		if got := <-read; strings.Count(got, "line\n") < logLines || strings.ReplaceAll(got, "line\n", "") != "" {
			t.Errorf("%d bytes were read", len(got))
		}
	})
}
