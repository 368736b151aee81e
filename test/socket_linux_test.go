package test

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"
)

// systemd hands over its socket as file descriptor 3 and says so in the environment.
func TestSystemdSocket(t *testing.T) {
	t.Parallel()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close() // the file is a descriptor of its own
	t.Cleanup(func() { _ = socket.Close() })

	dir := t.TempDir()
	e := &exporter{t: t, file: dir + "/sessions.yml"}
	e.write(valid)
	inner := command(t, dir, "--web.systemd-socket")
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`}, inner.Args...)...)
	cmd.Dir, cmd.Env = dir, slices.Concat(inner.Env, []string{"LISTEN_FDS=1"})
	cmd.ExtraFiles = []*os.File{socket}
	e.run(cmd)
	if e.url != "http://"+address {
		t.Errorf("it listens on %s, not on %s", e.url, address)
	}
	e.scrape("/metrics").expect(t, series{"rufus_exporter_sessions": "1"})
}
