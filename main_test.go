package main

import "testing"

func TestReachable(t *testing.T) {
	for address, want := range map[string]string{
		":10210":           "localhost:10210",
		"0.0.0.0:10210":    "localhost:10210",
		"[::]:10210":       "localhost:10210",
		"127.0.0.1:10210":  "127.0.0.1:10210",
		"[::1]:10210":      "[::1]:10210",
		"timing.local:80":  "timing.local:80",
		"192.168.0.10:443": "192.168.0.10:443",
		"vsock://:9100":    "vsock://:9100",
	} {
		if got := reachable(address); got != want {
			t.Errorf("reachable(%q) is %q, want %q", address, got, want)
		}
	}
}
