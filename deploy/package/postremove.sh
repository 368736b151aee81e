#!/bin/sh
# The user stays, as files may that belong to it.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
