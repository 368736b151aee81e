#!/usr/bin/env bash
# What can be told from the files alone: workflows, the description of a release, and which Go makes the image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$(bash .ci/tools actionlint goreleaser jq shellcheck):$PATH

actionlint
goreleaser check --quiet
go_mod=$(go mod edit -json | jq -r '.Toolchain // "go\(.Go)"')
grep -q "^FROM .*golang:${go_mod#go} AS go$" Dockerfile || { echo "Dockerfile: not the Go of go.mod, $go_mod" >&2; exit 1; }
