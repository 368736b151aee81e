package e2e

import (
	"os"
	"testing"

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
