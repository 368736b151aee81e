#!/usr/bin/env bash
# systemd.sh DIRECTORY: installs the deb in it on a bare Debian and runs the service under a real systemd, in namespaces
# of its own: restarts, exit codes, socket, credential, journal. It needs root and a cgroup2 hierarchy to write to.
set -euo pipefail

# boot ROOT: makes it the root of this mount namespace and starts its systemd as process 1.
boot() {
  mount --make-rprivate /
  mount --bind "$1" "$1"
  cd "$1"
  mount -t proc proc proc
  mount -t sysfs -o ro sysfs sys
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount -t tmpfs -o mode=755 tmpfs run
  mount -t tmpfs -o mode=755 tmpfs tmp
  local devices device
  devices=$(mktemp -d -p tmp)
  mount -t tmpfs -o mode=755 tmpfs "$devices"
  for device in null zero full random urandom tty; do
    touch "$devices/$device"
    mount --bind "/dev/$device" "$devices/$device"
  done
  ln -s /proc/self/fd "$devices/fd"
  ln -s pts/ptmx "$devices/ptmx"
  mkdir "$devices/pts" "$devices/shm"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$devices/pts"
  mount --move "$devices" dev
  mkdir -p old
  pivot_root . old
  umount -l /old
  mount --make-rshared / # as systemd expects it; the namespace itself shares nothing with the one outside
  exec env -i container=other PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd --unit=test.target --show-status=no
}

if [[ $1 == boot ]]; then boot "$2"; fi

dist=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bash .ci/tools containers linux-packages >/dev/null
root=$(mktemp -d)
cgroups=/sys/fs/cgroup
[[ $(stat -fc %T $cgroups) == cgroup2fs ]] || cgroups=$cgroups/unified
cgroup=$cgroups/rufus_exporter-test-$$
mkdir "$cgroup" || { echo "systemd cannot run here: $cgroups is not a cgroup2 hierarchy that can be written to" >&2; exit 1; }

finish() {
  # A process that is killed takes a moment to leave its group.
  [[ ! ${machine:-} ]] || kill -KILL "$machine" 2>/dev/null || true # with it all in its namespace
  for _ in {1..100}; do
    ! find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || break
    sleep 0.1
  done
  rm -rf "$root"
}
trap finish EXIT

expect() { [[ $3 == "$2" ]] || { echo "$1: got $3, want $2" >&2; within journalctl -n 30 --no-pager >&2; return 1; }; }
refused() { if "$@"; then echo "not refused: $*" >&2; return 1; fi; }

# within COMMAND: on that machine.
within() { nsenter --target "$init" --mount --pid --net --ipc --uts --root --wd "$@"; }

# state PROPERTY...: values of the service's properties.
state() { for property; do within systemctl show rufus_exporter --property="$property" --value; done | xargs; }

# soon CONDITION...: until it holds; no more than 20 s, which is several times RestartSec=.
soon() {
  for _ in {1..200}; do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  echo "waited in vain: $*" >&2
  [[ ! ${init:-} ]] || within journalctl -n 30 --no-pager >&2
  return 1
}
is() { [[ $(state "$1") == "$2" ]]; }
alive() { within rufus_exporter --health-check; }
logged() { within journalctl --unit=rufus_exporter --output=cat --no-pager | grep -- "$1"; }
entry() { sed -i "s|^$1=.*|$1=$2|" "$root/etc/rufus_exporter/environment"; }

started() {
  cp -a "$(bash deploy/test/debian)/." "$root"
  cp "$dist"/*"_$(dpkg --print-architecture).deb" "$root/rufus.deb"
  echo '127.0.0.1 localhost' >"$root/etc/hosts"
  printf '%s\n' '[Unit]' 'Wants=systemd-journald.service' 'After=systemd-journald.service' \
    >"$root/etc/systemd/system/test.target"
  (
    echo "$BASHPID" >"$cgroup/cgroup.procs"
    exec unshare --mount --pid --fork --kill-child --ipc --uts --net --cgroup -- bash "$0" boot "$root"
  ) </dev/null &
  machine=$!
  disown # or bash would report its end
  soon grep -q . "/proc/$machine/task/$machine/children"
  init=$(xargs <"/proc/$machine/task/$machine/children")
  soon within systemctl is-system-running
}

# Nothing is started before it is configured; then it runs, and its log has no time besides the journal's.
installed() {
  within dpkg -i /rufus.deb >/dev/null
  expect "after the installation" "inactive disabled" "$(state ActiveState UnitFileState)"
  entry RUFUS_API_KEY ror-00000000000000000000
  within systemctl enable --now rufus_exporter 2>/dev/null
  soon alive
  logged '^level=INFO.*msg=starting'
  refused logged '^time='
  expect "limits" "536870912 0" "$(state MemoryMax LimitCORE)"
  within systemctl reload rufus_exporter
  soon logged 'msg="configuration reloaded"'
}

# The Go runtime ends with 2 after a crash, as it does after SIGQUIT.
crashed() {
  local before
  before=$(state MainPID)
  within systemctl kill --signal=QUIT --kill-whom=main rufus_exporter
  soon is NRestarts 1
  soon alive
  refused is MainPID "$before"
  logged 'Main process exited, code=exited, status=2'
}

# A service that is to be started again would be activating, not failed.
misconfigured() {
  echo nonsense: >>"$root/etc/rufus_exporter/sessions.yml"
  within systemctl restart rufus_exporter
  soon is ActiveState failed
  expect "after an error in the configuration" "0 failed 78" "$(state NRestarts SubState ExecMainStatus)"
  sed -i '$d' "$root/etc/rufus_exporter/sessions.yml"
}

# The key as a credential, and a socket of systemd, by which the first request starts the service.
handed_over() {
  entry RUFUS_API_KEY ''
  entry ARGS --web.systemd-socket
  install -m 600 /dev/stdin "$root/etc/rufus_exporter/api_key" <<<ror-00000000000000000000
  mkdir "$root/etc/systemd/system/rufus_exporter.service.d"
  printf '%s\n' '[Service]' 'LoadCredential=api_key:/etc/rufus_exporter/api_key' \
    >"$root/etc/systemd/system/rufus_exporter.service.d/override.conf"
  sed -i 's|^  # key_file:.*|  key_file: /run/credentials/rufus_exporter.service/api_key|' \
    "$root/etc/rufus_exporter/sessions.yml"
  grep -q '^  key_file: /run/cred' "$root/etc/rufus_exporter/sessions.yml"
  within systemctl daemon-reload
  within systemctl disable --now rufus_exporter 2>/dev/null
  within systemctl enable --now rufus_exporter.socket 2>/dev/null
  refused is ActiveState active
  alive
  soon is ActiveState active
  logged 'msg="Listening on".*address=\[::\]:10210'
  within systemctl restart rufus_exporter
  alive
}

removed() {
  within dpkg -r rufus-exporter 2>/dev/null >/dev/null
  refused alive 2>/dev/null
  expect "after the removal" "not-found" "$(state LoadState)"
}

for check in started installed crashed misconfigured handed_over removed; do
  begun=$SECONDS
  "$check" >/dev/null
  echo "systemd: $check: $((SECONDS - begun))s"
done
