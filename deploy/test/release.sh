#!/usr/bin/env bash
# A dry run of a release of the last commit, from a clean clone, and once more from another; what came out of it is
# compared with each other and with the image of the Dockerfile, looked into, and installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$(bash .ci/tools containers cyclonedx-gomod goreleaser jq):$PATH
source deploy/test/containers.bash
choose_driver
scratch=$(mktemp -d)

finish() {
  remove_containers
  rm -rf "$scratch"
}
trap finish EXIT

expect() { [[ $3 == "$2" ]] || { echo "$1: got $3, want $2" >&2; return 1; }; }

version=1.2.4-dev # which .goreleaser.yaml makes of the tag v1.2.3 in a dry run
revision=$(git rev-parse HEAD)
date=$(TZ=UTC0 git log -1 --date='format-local:%Y-%m-%dT%H:%M:%SZ' --format=%cd)

# dry_run NAME FLAG...: in a clone of that name.
dry_run() {
  git clone -q . "$scratch/$1"
  git -C "$scratch/$1" tag v1.2.3
  (cd "$scratch/$1" && goreleaser release --snapshot "${@:2}")
}

base_image
PATH=$PWD/deploy/test/as-docker:$PATH dry_run first
dry_run second --skip=docker

dist=$scratch/first/dist
diff "$dist/sha256sums.txt" "$scratch/second/dist/sha256sums.txt"
(cd "$dist" && sha256sum --check --quiet sha256sums.txt)
for kind in .tar.gz:4 .zip:2 .deb:2 .rpm:2 .cdx.json:6; do
  expect "number of ${kind%:*}" "${kind#*:}" "$(grep -c "${kind%:*}$" "$dist/sha256sums.txt")"
done

# Compiled elsewhere, with another cache and by another way: the bits are the same.
for architecture in amd64 arm64; do
  build_image "$architecture" -t "localhost/rufus_exporter:$architecture" --build-arg "VERSION=$version" \
    --build-arg "REVISION=$revision" --build-arg "BUILD_DATE=$date" "$scratch/second" >/dev/null
  program_of "localhost/rufus_exporter:$architecture" "$scratch/built"
  program_of "localhost/rufus_exporter:$version-$architecture" "$scratch/released"
  cmp "$scratch/built" "$dist"/rufus_exporter_linux_"$architecture"_*/rufus_exporter
  cmp "$scratch/released" "$scratch/built"
done

architecture=$(go env GOARCH)
name=rufus_exporter-$version.linux-$architecture
tar -xzf "$dist/$name.tar.gz" -C "$scratch"
expect "archive" "LICENSE README.md pages/_rufus_exporter pages/rufus_exporter.1.gz pages/rufus_exporter.bash \
rufus_exporter sessions.yml" "$(cd "$scratch/$name" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs)"
"$scratch/$name/rufus_exporter" --version >"$scratch/version"
grep -q "version $version (branch: , revision: $revision)" "$scratch/version"
grep -q "build date: *$date" "$scratch/version"
jq -e '[.components[].name] | contains(["github.com/prometheus/client_golang", "std"])' "$dist/$name.cdx.json" >/dev/null
bash deploy/test/packages.sh "$dist"
