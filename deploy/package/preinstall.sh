#!/bin/sh
# The files that follow belong to the group of this user.
set -e
getent passwd rufus_exporter >/dev/null ||
  useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin rufus_exporter
