package main

import (
	"fmt"
	"os"
	"syscall"
)

// isJournal reports whether file is connected to systemd's journal. stream is the value of $JOURNAL_STREAM:
// device:inode. It is not enough that the variable is set, because a process whose output goes elsewhere inherits it
// too. See systemd.exec(5).
func isJournal(file *os.File, stream string) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && fmt.Sprintf("%d:%d", stat.Dev, stat.Ino) == stream
}
