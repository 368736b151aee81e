#!/bin/sh
# An upgrade restarts what runs. A first installation starts nothing: there is no configuration yet.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart rufus_exporter.service
fi
