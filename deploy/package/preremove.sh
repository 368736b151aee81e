#!/bin/sh
# Debian says "remove", rpm how many versions are left; an upgrade stops nothing.
set -e
case $1 in
remove | 0)
  if [ -d /run/systemd/system ]; then
    systemctl disable --now rufus_exporter.socket rufus_exporter.service
  fi
  ;;
esac
