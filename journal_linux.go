package main

import (
	"fmt"
	"os"
	"syscall"
)

// isJournal reports whether file is the stream to systemd's journal that the variable JOURNAL_STREAM describes, as
// device:inode. The variable alone proves nothing: processes inherit it when their output goes elsewhere. See
// systemd.exec(5).
func isJournal(file *os.File, stream string) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && fmt.Sprintf("%d:%d", stat.Dev, stat.Ino) == stream
}
