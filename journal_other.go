//go:build !linux

package main

import "os"

// isJournal reports false, because systemd's journal exists on Linux only.
func isJournal(*os.File, string) bool { return false }
