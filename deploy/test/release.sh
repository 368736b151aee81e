#!/usr/bin/env bash
# A dry run of a release of the last commit, from a clean clone, and once more from another by deploy/build; what came
# out of it is compared with each other and with the image of the Dockerfile, looked into, installed, and run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$(bash .ci/tools containers cyclonedx-gomod emulators goreleaser jq):$PATH
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

for name in first second; do
  git clone -q . "$scratch/$name"
  git -C "$scratch/$name" tag v1.2.3
done
base_image
# Only GitHub's workflow can sign. A stand-in for cosign writes down how it is called, and what it would sign.
mkdir "$scratch/bin"
cat >"$scratch/bin/cosign" <<'SH'
#!/bin/sh
for argument; do
  case $argument in --bundle=*) bundle=${argument#--bundle=} ;; esac
done
echo "$*" "$(sha256sum <"$argument")" >"$bundle"
SH
chmod +x "$scratch/bin/cosign"
PATH=$PWD/deploy/test/as-docker:$scratch/bin:$PATH
(cd "$scratch/first" && goreleaser release --snapshot)
bash "$scratch/second/deploy/build"

dist=$scratch/first/dist
diff "$dist/sha256sums.txt" "$scratch/second/dist/sha256sums.txt"
(cd "$dist" && sha256sum --check --quiet sha256sums.txt)
expect "signed" "sign-blob --yes --bundle=dist/sha256sums.txt.sigstore.json dist/sha256sums.txt \
$(sha256sum <"$dist/sha256sums.txt")" "$(sed "s|$scratch/first/||g" "$dist/sha256sums.txt.sigstore.json")"
for kind in .tar.gz:6 .zip:2 .deb:4 .rpm:4 .cdx.json:8; do
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

# The image of deploy/build, as it came out of the archive.
loaded=$(podman load -q -i "$scratch/second/dist/rufus_exporter.image.tar" | sed -n '1s/^Loaded image: //p')
program_of "$loaded" "$scratch/loaded"
chmod +x "$scratch/loaded"
expect "version of the image" "rufus_exporter, version 1.2.3 (branch: , revision: $revision)" \
  "$("$scratch/loaded" --version | head -n 1)"

for variant in 6 7; do
  expect "program for armv$variant" "linux/arm" \
    "$(qemu-arm "$dist/rufus_exporter_linux_arm_$variant/rufus_exporter" --version | sed -n 's/^ *platform: *//p')"
done

architecture=$(go env GOARCH)
name=rufus_exporter-$version.linux-$architecture
tar -xzf "$dist/$name.tar.gz" -C "$scratch"
(cd "$scratch/$name" && find . -type f -printf '%P\n') | LC_ALL=C sort >"$scratch/found"
{
  git ls-files docs monitoring ':!*.go'
  git ls-files deploy/systemd | sed 's|^deploy/||'
  printf '%s\n' CHANGELOG.md CONTRIBUTING.md LICENSE README.md SECURITY.md \
    pages/{_rufus_exporter,rufus_exporter.{1.gz,bash}} rufus_exporter sessions.yml
} | LC_ALL=C sort | diff - "$scratch/found"
"$scratch/$name/rufus_exporter" --version >"$scratch/version"
grep -q "version $version (branch: , revision: $revision)" "$scratch/version"
grep -q "build date: *$date" "$scratch/version"
jq -e '[.components[].name] | contains(["github.com/prometheus/client_golang", "std"])' "$dist/$name.cdx.json" >/dev/null
bash deploy/test/packages.sh "$dist"
bash deploy/test/systemd.sh "$dist"
