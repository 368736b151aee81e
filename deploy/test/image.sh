#!/usr/bin/env bash
# Builds the image for both architectures and runs it as a careful operator does: read-only, without capabilities,
# with no network but its own loopback.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$(bash .ci/tools containers curl emulators):$PATH
source deploy/test/containers.bash
choose_driver
scratch=$(mktemp -d)
container=rufus_exporter
image=localhost/rufus_exporter
declare -A emulator=([amd64]=qemu-x86_64 [arm64]=qemu-aarch64)

finish() {
  remove_containers
  rm -rf "$scratch"
}
trap finish EXIT

# expect WHAT WANTED GOT
expect() { [[ $3 == "$2" ]] || { echo "$1: got $3, want $2" >&2; return 1; }; }

# refused COMMAND: which a bare ! would not turn into a failure of the script.
refused() { if "$@"; then echo "not refused: $*" >&2; return 1; fi; }

# start FLAG... -- ARGUMENT...: the container, with podman's flags and the program's arguments, and waits for it to be
# alive by its own health check, or to end.
start() {
  local flags=()
  while [[ $1 != -- ]]; do flags+=("$1"); shift; done
  podman rm -f "$container" >/dev/null 2>&1 || true
  podman run -d --name "$container" --read-only --cap-drop=all --security-opt=no-new-privileges --network=none \
    --ulimit nofile=20000:20000 --ulimit nproc=8192:8192 "${flags[@]}" "$image:amd64" "${@:2}" >/dev/null
  for _ in {1..100}; do
    [[ $(state Running) == true ]] || return 0
    ! healthy 2>/dev/null || return 0
    sleep 0.1
  done
  podman logs "$container"
  return 1
}

state() { podman inspect -f "{{.State.$1}}" "$container"; }
healthy() { podman healthcheck run "$container" >/dev/null; }
inside() { nsenter --net --target "$(state Pid)" "$@"; }

built() {
  local architecture
  base_image
  for architecture in amd64 arm64; do
    build_image "$architecture" -t "$image:$architecture" --build-arg VERSION=1.2.3 --build-arg REVISION=4d5e6f \
      --build-arg BUILD_DATE=2026-01-02T03:04:05Z --build-arg SOURCE=https://example.org/rufus_exporter . >/dev/null
    podman inspect --type image "$image:$architecture" >"$scratch/$architecture.json"
    expect "architecture" "$architecture" "$(jq -r '.[0].Architecture' "$scratch/$architecture.json")"
    (($(jq '.[0].Size' "$scratch/$architecture.json") < 20000000)) || { echo "above 20 MB"; return 1; }
    buildah from --pull-never --name "$container" "$image:$architecture" >/dev/null
    root=$(buildah mount "$container")
    expect "files of $architecture" "./etc/ssl/certs/ca-certificates.crt ./rufus_exporter" \
      "$(cd "$root" && find . -type f -size +0 | sort | xargs)"
    expect "program of $architecture" "linux/$architecture" \
      "$("${emulator[$architecture]}" "$root/rufus_exporter" --version | sed -n 's/^ *platform: *//p')"
    buildah rm "$container" >/dev/null
  done
}

described() {
  expect "what the image says" '65532:65532 ["10210/tcp"] ["/rufus_exporter"] ["CMD","/rufus_exporter","--health-check"]' \
    "$(jq -r '.[0] | "\(.User) \(.Config.ExposedPorts | keys) \(.Config.Entrypoint) \(.Healthcheck.Test)"' \
      "$scratch/amd64.json")"
  expect "labels" "2026-01-02T03:04:05Z Apache-2.0 4d5e6f https://example.org/rufus_exporter 1.2.3" \
    "$(jq -r '.[0].Labels | [.["org.opencontainers.image." + ("created", "licenses", "revision", "source", "version")]]
      | join(" ")' "$scratch/amd64.json")"
}

demo() {
  start -- --demo
  healthy
  inside curl -fsS http://127.0.0.1:10210/metrics >"$scratch/metrics"
  grep -q '^rufus_session_up{.*} 1$' "$scratch/metrics"
  grep -q '^rufus_exporter_build_info{.*revision="4d5e6f".*version="1.2.3"} 1$' "$scratch/metrics"
  podman stop -t 30 "$container" >/dev/null
  expect "exit code after SIGTERM" 0 "$(state ExitCode)"
  refused podman run --rm --network=none "$image:amd64" --health-check 2>/dev/null # nobody answers
}

# The list of sessions lies where the image looks for it; the API is out of reach.
configured() {
  local files=(-v "$PWD/sessions.yml:/etc/rufus_exporter/sessions.yml:ro")
  start "${files[@]}" --env RUFUS_API_KEY=ror-00000000000000000000 --
  healthy
  inside curl -fsS http://127.0.0.1:10210/metrics >"$scratch/metrics"
  grep -q '^rufus_session_up{.*session="turn-5k"} 0$' "$scratch/metrics"
  podman kill --signal HUP "$container" >/dev/null
  for _ in {1..100}; do
    podman logs "$container" 2>&1 | grep -q 'configuration reloaded' && break
    sleep 0.1
  done
  expect "loads after SIGHUP" 1 "$(podman logs "$container" 2>&1 | grep -c 'configuration reloaded')"
  podman kill --signal INT "$container" >/dev/null
  expect "exit code after SIGINT" 0 "$(podman wait "$container")"

  start "${files[@]}" --
  expect "exit code without a key" 78 "$(podman wait "$container")"
  start --
  expect "exit code without a list of sessions" 78 "$(podman wait "$container")"
}

# Alive is what answers, also when it asks for credentials that the health check does not have.
protected() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
    -keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2>/dev/null
  printf '%s\n' 'tls_server_config:' '  cert_file: cert.pem' '  key_file: key.pem' >"$scratch/tls.yml"
  # shellcheck disable=SC2016 # a bcrypt hash
  printf '%s\n' 'basic_auth_users:' '  someone: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi' |
    cat "$scratch/tls.yml" - >"$scratch/auth.yml"
  printf '%s\n' '  client_auth_type: RequireAndVerifyClientCert' '  client_ca_file: cert.pem' |
    cat "$scratch/tls.yml" - >"$scratch/mtls.yml"
  chmod 755 "$scratch"
  chmod 644 "$scratch"/*

  start -v "$scratch:/web:ro" -- --demo --web.config.file=/web/auth.yml
  healthy
  expect "status without credentials" 401 \
    "$(inside curl -ksS -o /dev/null -w '%{http_code}' https://127.0.0.1:10210/-/healthy)"
  start -v "$scratch:/web:ro" -- --demo --web.config.file=/web/mtls.yml
  healthy
  refused inside curl -ksS https://127.0.0.1:10210/-/healthy 2>/dev/null
}

for check in built described demo configured protected; do
  started=$SECONDS
  "$check"
  echo "image: $check: $((SECONDS - started))s"
done
