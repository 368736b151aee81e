#!/usr/bin/env bash
# The manifests against the schemas of Kubernetes and of the Prometheus operator, derived here from their own modules;
# the rules against monitoring/; the sessions against the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$(bash .ci/tools jq kubeconform kustomize promtool):$PATH
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# source_of MODULE@VERSION: where its files lie.
source_of() { go mod download -json "$1" | jq -r .Dir; }

# A field that the schema does not name is a mistake. A whole number or a quantity may be written bare.
strict='def strict: walk(if type == "object" and (.properties | type) == "object" and (has("additionalProperties") | not)
  then .additionalProperties = false else . end);'
jq -r "$strict"'
  (.definitions | strict
    | .["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {type: ["string", "integer"]}
    | .["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {type: ["string", "number"]}) as $definitions
  | ("apps.v1.Deployment", "core.v1.ConfigMap", "core.v1.Service", "networking.v1.NetworkPolicy") as $name
  | ("io.k8s.api." + $name) as $name
  | ($definitions[$name]["x-kubernetes-group-version-kind"][0]
    | [.kind, .group, .version] | map(select(. != "") | split(".")[0]) | join("-") | ascii_downcase)
  , ({"$ref": "#/definitions/\($name)", definitions: $definitions} | tojson)' \
  "$(source_of k8s.io/kubernetes@v1.34.0)/api/openapi-spec/swagger.json" |
  while read -r name && IFS= read -r schema; do printf '%s\n' "$schema" >"$scratch/$name.json"; done
crds=$(source_of github.com/prometheus-operator/prometheus-operator@v0.85.0)/jsonnet/prometheus-operator
for kind in prometheusrule servicemonitor; do
  jq "$strict"'.spec.versions[] | select(.name == "v1").schema.openAPIV3Schema | strict' \
    "$crds/${kind}s-crd.json" >"$scratch/$kind-monitoring-v1.json"
done

# valid FILE: by its schema. An unknown kind fails for want of one.
valid() {
  kubeconform -strict -summary -schema-location "$scratch/{{ .ResourceKind }}{{ .KindSuffix }}.json" "$1"
}

# kinds FILE
kinds() { sed -n 's/^kind: //p' "$1" | sort | xargs; }
expect() { [[ $3 == "$2" ]] || { echo "$1: got $3, want $2" >&2; return 1; }; }

# A cluster without the Prometheus operator takes the base.
kustomize build deploy/kubernetes >"$scratch/base.yaml"
valid "$scratch/base.yaml"
expect "kinds of the base" "ConfigMap Deployment NetworkPolicy Service" "$(kinds "$scratch/base.yaml")"
promtool check config --syntax-only deploy/kubernetes/scrape.yml

# The overlay that docs/install.md shows, with the component for the operator.
mkdir "$scratch/overlay"
# shellcheck disable=SC2016 # those are no expressions
sed -n '/^   # kustomization.yaml$/,/^   ```$/{/```/d; s/^   //; p}' docs/install.md >"$scratch/overlay/kustomization.yaml"
cp sessions.yml "$scratch/overlay/"
cp -r deploy "$scratch/" # kustomize wants relative paths
sed -i 's|path/to/rufus_exporter|..|' "$scratch/overlay/kustomization.yaml"
kustomize build "$scratch/overlay" >"$scratch/all.yaml"
valid "$scratch/all.yaml"
expect "kinds of the overlay" "ConfigMap Deployment NetworkPolicy PrometheusRule Service ServiceMonitor" \
  "$(kinds "$scratch/all.yaml")"
expect "namespaces of the overlay" "timing" "$(sed -n 's/^  namespace: //p' "$scratch/all.yaml" | sort -u)"
for mistake in s/readOnlyRootFilesystem/readOnlyFilesystem/ s/scrapeTimeout/timeout/ s/podSelector/selector/; do
  sed "$mistake" "$scratch/all.yaml" >"$scratch/mistake.yaml"
  if valid "$scratch/mistake.yaml" >"$scratch/said"; then echo "not refused: $mistake"; exit 1; fi
done

# OpenShift assigns users and groups itself and refuses a pod that wants certain ones.
if grep -E 'fsGroup:|runAsUser:|runAsGroup:' "$scratch/base.yaml"; then echo "OpenShift refuses this pod" >&2; exit 1; fi

operator=deploy/kubernetes/prometheus-operator
diff $operator/prometheusrule.yaml <(bash $operator/prometheusrule) >&2 || {
  echo "the rules have changed: $operator/prometheusrule >$operator/prometheusrule.yaml" >&2
  exit 1
}

# Where the deployment puts it, there is a key; here is none.
sed "s|key_file: .*|key_file: $scratch/key|" deploy/kubernetes/sessions.yml >"$scratch/sessions.yml"
echo ror-00000000000000000000 >"$scratch/key"
go run . --config.check --config.file="$scratch/sessions.yml"
