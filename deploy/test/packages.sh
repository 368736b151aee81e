#!/usr/bin/env bash
# packages.sh DIRECTORY: installs, upgrades and removes the packages in it, on a bare Debian of their own.
set -euo pipefail
dist=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$(bash .ci/tools containers linux-packages):$PATH
debian=$(bash deploy/test/debian)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

expect() { [[ $3 == "$2" ]] || { echo "$1: got $3, want $2" >&2; return 1; }; }
refused() { if "$@"; then echo "not refused: $*" >&2; return 1; fi; }

# machine NAME: a Debian whose systemctl writes down what it is asked, and the packages in /dist.
machine() {
  root=$scratch/$1
  cp -a "$debian" "$root"
  mkdir -p "$root/dist" "$root/run/systemd/system"
  cp "$dist"/*"_$(dpkg --print-architecture)".{deb,rpm} "$root/dist/"
  printf '#!/bin/sh\necho "$*" >>/systemctl\n' >"$root/usr/bin/systemctl"
  chmod 755 "$root/usr/bin/systemctl"
}

# asked WANTED: what systemctl was asked since the last time, repetitions apart.
asked() {
  expect "systemctl" "$1" "$(uniq "$root/systemctl" | paste -sd ";")"
  : >"$root/systemctl"
}

# within COMMAND: on that machine. as_user: as the service.
within() { chroot "$root" "$@"; }
as_user() { chroot --userspec=rufus_exporter:rufus_exporter "$root" "$@"; }

# installed VERSION: everything is there, and for the service only.
installed() {
  within rufus_exporter --version | grep -q "^rufus_exporter, version $1 "
  expect "configuration" "640 root rufus_exporter" "$(within stat -c '%a %U %G' /etc/rufus_exporter/sessions.yml)"
  expect "environment" "640 root rufus_exporter" "$(within stat -c '%a %U %G' /etc/rufus_exporter/environment)"
  expect "user" "/nonexistent:/usr/sbin/nologin" "$(within getent passwd rufus_exporter | cut -d: -f6-)"
  as_user rufus_exporter --config.check --config.file=/etc/rufus_exporter/sessions.yml 2>"$scratch/warned"
  grep -q 'no API key' "$scratch/warned"
  refused chroot --userspec=65534:65534 "$root" cat /etc/rufus_exporter/sessions.yml 2>/dev/null
  # Started before it is configured, it ends with the status after which systemd does not try again.
  local status=0
  as_user rufus_exporter --config.file=/etc/rufus_exporter/sessions.yml 2>/dev/null || status=$?
  expect "status without a key" \
    "$(sed -n 's/^RestartPreventExitStatus=//p' "$root/usr/lib/systemd/system/rufus_exporter.service")" "$status"
  zcat "$root/usr/share/man/man1/rufus_exporter.1.gz" >"$scratch/man"
  grep -q "^.TH rufus_exporter 1 \"[0-9]\{4\}-[0-9][0-9]-[0-9][0-9]\" \"rufus_exporter $1\"" "$scratch/man"
  grep -q '^rufus_exporter \\- Prometheus exporter' "$scratch/man"
  grep -q -- '--config.file' "$scratch/man"
  # Rules, dashboard, runbook and documentation, and whatever the package's README names.
  local file
  while read -r file; do
    within test -s "$file" || { echo "missing: $file" >&2; return 1; }
  done < <(
    git ls-files monitoring ':!*.go' | sed 's|^|/usr/share/rufus_exporter/|'
    git ls-files docs | sed 's|^|/usr/share/doc/rufus-exporter/|'
    printf '/usr/share/doc/rufus-exporter/%s\n' \
      README LICENSE {README,CHANGELOG,CONTRIBUTING,SECURITY}.md monitoring/runbook.md
    grep -Eo '/(etc|usr)/[a-zA-Z_./-]*[a-zA-Z_/]' deploy/package/README
    grep -Eo '^ {6}[a-z.]+' deploy/package/README | sed 's|^ *|/usr/share/rufus_exporter/monitoring/|'
  )
  # shellcheck disable=SC2016 # for that bash
  within bash -c 'source /usr/share/bash-completion/completions/rufus_exporter
    COMP_WORDS=(rufus_exporter --config.) COMP_CWORD=1
    _rufus_exporter_bash_autocomplete
    echo "${COMPREPLY[*]}"' >"$scratch/completed"
  expect "completion" "--config.file --config.check --config.auto-reload-interval" "$(<"$scratch/completed")"
  expect "first line for zsh" "#compdef rufus_exporter" "$(head -n 1 "$root"/usr/share/zsh/*/_rufus_exporter)"
}

# unit: judged by systemd.
unit() {
  systemd-analyze verify --root="$root" --man=no "$root/usr/lib/systemd/system/rufus_exporter".{service,socket}
  systemd-analyze security --offline=true --threshold=20 --no-pager \
    "$root/usr/lib/systemd/system/rufus_exporter.service" >"$scratch/security" || { cat "$scratch/security"; return 1; }
  tail -n 1 "$scratch/security"
}

deb() {
  local deb version
  machine deb
  deb=/dist/$(basename "$root"/dist/*.deb)
  version=$(dpkg-deb -f "$root$deb" Version)
  within dpkg -i "$deb"
  asked "daemon-reload;try-restart rufus_exporter.service"
  installed "${version/\~/-}"
  unit
  within dpkg --verify rufus-exporter
  within dpkg -P rufus-exporter
  asked "disable --now rufus_exporter.socket rufus_exporter.service;daemon-reload"
  refused test -e "$root/etc/rufus_exporter"
  refused test -e "$root/usr/bin/rufus_exporter"

  # From the release before, which had another number and other configuration. Repacked where the group is known.
  within dpkg-deb -R "$deb" /before
  sed -i 's/^Version: .*/Version: 0.0.1/' "$root/before/DEBIAN/control"
  echo '# before' | tee -a "$root/before/etc/rufus_exporter/"{sessions.yml,environment} >/dev/null
  within dpkg-deb -b /before /dist/before.deb
  within dpkg -i /dist/before.deb
  echo '# mine' >>"$root/etc/rufus_exporter/sessions.yml"
  : >"$root/systemctl"
  within dpkg --force-confold -i "$deb"
  asked "daemon-reload;try-restart rufus_exporter.service"
  expect "changed configuration" "# mine" "$(tail -n 1 "$root/etc/rufus_exporter/sessions.yml")"
  cmp "$root/etc/rufus_exporter/environment" deploy/systemd/environment
  installed "${version/\~/-}"
  within dpkg -r rufus-exporter
  expect "configuration after removal" "# mine" "$(tail -n 1 "$root/etc/rufus_exporter/sessions.yml")"
}

rpm() { command rpm --root "$root" --nodeps "$@"; }

rpm_package() {
  local package version
  machine rpm
  package=$(echo "$root"/dist/*.rpm)
  version=$(command rpm -qp --qf '%{VERSION}' "$package")
  rpm -i "$package"
  asked "daemon-reload;try-restart rufus_exporter.service"
  installed "${version/\~/-}"
  unit
  echo '# mine' >>"$root/etc/rufus_exporter/sessions.yml"
  rpm -U --force "$package"
  asked "daemon-reload;try-restart rufus_exporter.service;daemon-reload"
  expect "changed configuration" "# mine" "$(tail -n 1 "$root/etc/rufus_exporter/sessions.yml")"
  expect "kept by upgrades" "/etc/rufus_exporter/environment cn /etc/rufus_exporter/sessions.yml cn" \
    "$(command rpm -qp --qf '[%{FILENAMES} %{FILEFLAGS:fflags}\n]' "$package" | grep ' c' | paste -sd ' ')"
  rpm -e rufus-exporter
  asked "disable --now rufus_exporter.socket rufus_exporter.service;daemon-reload"
  refused test -e "$root/usr/bin/rufus_exporter"
}

deb
rpm_package
