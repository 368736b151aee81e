//go:build !linux

package main

import "os"

// isJournal reports whether file is a stream to systemd's journal, which exists on Linux only.
func isJournal(*os.File, string) bool { return false }
