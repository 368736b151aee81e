package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// The pod is let into a namespace that enforces the restricted standard, by what Kubernetes itself judges with.
func TestPodSecurity(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../deploy/kubernetes/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(text, &deployment); err != nil {
		t.Fatal(err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	judge := func() policy.AggregateCheckResult {
		pod := &deployment.Spec.Template
		return policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec))
	}
	if result := judge(); !result.Allowed {
		t.Error(result.ForbiddenDetail())
	}
	deployment.Spec.Template.Spec.SecurityContext.RunAsNonRoot = nil
	if judge().Allowed {
		t.Error("a pod that may run as root is let in")
	}
}

// Series and alerts must go on when another pod takes over, so nothing of a pod may be left in the labels of the target.
func TestServiceMonitorLabels(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../deploy/kubernetes/prometheus-operator/servicemonitor.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var monitor struct {
		Spec struct {
			Endpoints []struct {
				Relabelings []map[string]any `json:"relabelings"`
			} `json:"endpoints"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &monitor); err != nil {
		t.Fatal(err)
	}
	relabelings, err := yaml.Marshal(monitor.Spec.Endpoints[0].Relabelings)
	if err != nil {
		t.Fatal(err)
	}
	// The operator's names of the settings are those of Prometheus in another case.
	rules := strings.NewReplacer("sourceLabels", "source_labels", "targetLabel", "target_label").Replace(string(relabelings))
	cfg, err := config.Load("scrape_configs:\n- job_name: rufus\n  relabel_configs:\n"+indent(rules), promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	// As the operator leaves them, whose own rules come first.
	labelled := func(pod, address string) string {
		target := labels.NewBuilder(labels.FromStrings("__address__", address, "instance", address, "pod", pod,
			"__meta_kubernetes_service_name", "rufus-exporter", "namespace", "timing", "job", "rufus-exporter"))
		if !relabel.ProcessBuilder(target, cfg.ScrapeConfigs[0].RelabelConfigs...) {
			t.Error("the target is dropped")
		}
		for _, name := range []string{"__address__", "__meta_kubernetes_service_name"} { // Prometheus drops these
			target.Del(name)
		}
		return target.Labels().String()
	}
	want := `{instance="rufus-exporter", job="rufus-exporter", namespace="timing"}`
	for pod, address := range map[string]string{"rufus-exporter-7d4b9": "10.0.0.7:10210", "rufus-exporter-c8x2k": "10.0.3.9:10210"} {
		if got := labelled(pod, address); got != want {
			t.Errorf("labels of %s: %s, want %s", pod, got, want)
		}
	}
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}
