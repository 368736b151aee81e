# shellcheck shell=bash
# Sourced by what builds and runs images here: without a Docker engine, systemd, or a registry. Images, build caches
# and the stand-in for the base image are kept apart from the machine's own, and between runs.

storage=${RUFUS_TOOLS:-$HOME/.cache/rufus_exporter-tools}/images
mkdir -p "$storage"
# One run at a time, with all the programs it starts: what it leaves behind is removed as a whole.
if [[ ! ${STORAGE_LOCKED:-} ]]; then
  exec {storage_lock}>"$storage.lock"
  flock "$storage_lock"
  export STORAGE_LOCKED=1
fi

# overlay copies nothing, but does not work inside every container; vfs does. podman wants the path of what lasts as
# long as the machine is up to be short.
choose_driver() {
  local probe
  for driver in overlay vfs; do
    stores=(--root "$storage/$driver" --runroot "/run/rufus_exporter-$driver" --storage-driver "$driver")
    if probe=$(buildah from scratch 2>&1) && buildah mount "$probe" >/dev/null; then
      buildah rm "$probe" >/dev/null
      return
    fi
  done
  echo "no storage driver works: $probe" >&2
  return 1
}

remove_containers() {
  podman rm --all --force >/dev/null
  buildah rm --all >/dev/null
}

buildah() { command buildah "${stores[@]}" "$@"; }

# What podman cannot tell systemd, where that is not running, is of no interest.
podman() {
  command podman "${stores[@]}" --runtime "$(command -v runc)" --cgroup-manager cgroupfs "$@" 2> >(
    grep -v 'unable to get systemd connection' >&2
  )
}

# base_image: the base image that the Dockerfile names, made of a bare Debian and the Go of this machine.
base_image() {
  local name version container root
  name=$(sed -n 's/^FROM .*\(golang:[^ ]*\) AS go$/\1/p' Dockerfile)
  version=$(go env GOVERSION)
  [[ $name == "golang:${version#go}" ]] || { echo "Dockerfile: $name, but Go here is $version" >&2; return 1; }
  ! buildah inspect --type image "docker.io/library/$name" >/dev/null 2>&1 || return 0
  container=$(buildah from scratch)
  root=$(buildah mount "$container")
  cp -a "$(bash deploy/test/debian)/." "$root"
  cp -a "$(go env GOROOT)" "$root/usr/local/go"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" # this machine's, for its way to the module proxy
  buildah config --env GOPATH=/go --env GOTOOLCHAIN=local --env GOPROXY="$(go env GOPROXY)" \
    --env PATH=/usr/local/go/bin:/usr/sbin:/usr/bin "$container"
  buildah commit -q --rm "$container" "docker.io/library/$name" >/dev/null
}

# program_of IMAGE FILE: copies the program out of the image.
program_of() {
  local container
  container=$(buildah from --pull-never "$1" 2>/dev/null)
  cp "$(buildah mount "$container")/rufus_exporter" "$2"
  buildah rm "$container" >/dev/null
}

# build_image ARCHITECTURE ARGUMENT...: the image of the Dockerfile. This buildah does not know BUILDPLATFORM.
build_image() {
  buildah bud -q --isolation chroot --pull-never --format docker --platform "linux/$1" \
    --build-arg "BUILDPLATFORM=linux/$(go env GOHOSTARCH)" "${@:2}"
}
