package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"
)

const (
	rulesFile        = "rufus.rules.yml"
	ruleTestsFile    = "rufus.rules_test.yml"
	alertmanagerFile = "alertmanager.yml"
)

// What kills mutants.
const (
	byPromtool = "promtool"
	byTests    = "tests"
	byBench    = "bench"
)

// alertmanagerTests are the tests of e2e that concern the Alertmanager example alone.
const alertmanagerTests = "^TestAlertmanager"

// tests runs the tests on mutants.
type tests struct {
	dir        string // for files that are in the way afterwards
	monitoring string
	cores      int // that each test may use

	bench               bool
	benchRun, benchSkip string
	unmutated           func() error // plays the truth bench without a mutation, once

	ruleTests []byte // the file of promtool's tests
	mu        sync.Mutex
	rules     []*ruleTest
}

// ruleTest is a test of promtool.
type ruleTest struct {
	name  string
	whole bool           // clones can be asked all of it
	kills map[string]int // by rule; "" for all
	took  time.Duration  // without a mutation
}

// prepare compiles the tests and checks that they tell a mutant from the original.
func (t *tests) prepare(ctx context.Context, all, chosen []mutant) error {
	var err error
	if t.ruleTests, err = os.ReadFile(filepath.Join(t.monitoring, ruleTestsFile)); err != nil {
		return err
	}
	var file struct{ Tests []testGroup }
	if err := yaml.Unmarshal(t.ruleTests, &file); err != nil {
		return err
	}
	for _, test := range file.Tests {
		if test.Name == "" || slices.ContainsFunc(t.rules, func(other *ruleTest) bool { return other.name == test.Name }) {
			return fmt.Errorf("%s: a test has no name of its own: %q", ruleTestsFile, test.Name)
		}
		t.rules = append(t.rules, &ruleTest{name: test.Name, whole: test.whole(), kills: map[string]int{}})
	}
	if err := t.command(ctx, ".", nil, "go", "test", "-vet=off", "-c", "-o", t.binary(), "."); err != nil {
		return err
	}

	for _, kind := range []string{"rules", "alertmanager", "code"} {
		if err := t.prepareKind(ctx, kind, all, chosen); err != nil {
			return err
		}
	}
	return nil
}

// prepareKind checks that the tests pass without a mutation, and that the truth bench fails with a broken file.
func (t *tests) prepareKind(ctx context.Context, kind string, all, chosen []mutant) error {
	of := func(m mutant) bool { return m.kind == kind }
	if !slices.ContainsFunc(chosen, of) {
		return nil
	}
	original := all[slices.IndexFunc(all, of)]
	original.after = original.before
	alone := func(m mutant) bool { // the others are tested beside a clone without a mutation
		_, together := m.rule()
		return of(m) && !together
	}
	if slices.ContainsFunc(chosen, alone) {
		if r := t.testFast(ctx, &original, t.dir); r.err != nil || r.killer != "" {
			return fmt.Errorf("%s without a mutation: %s", kind, r)
		}
	}
	broken := original
	broken.after = "broken"
	if killed, err := t.play(ctx, &broken, t.dir); kind != "code" && t.bench && (err != nil || !killed) {
		return errors.Join(errors.New("the truth bench does not use the mutated file"), err)
	}
	return nil
}

func (t *tests) binary() string { return filepath.Join(t.dir, "e2e.test") }

// test runs the tests on a mutant, the fast ones first, until one fails.
func (t *tests) test(ctx context.Context, m *mutant) result {
	dir, err := os.MkdirTemp(t.dir, "")
	if err != nil {
		return result{err: err}
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is within another that goes
	r := t.testFast(ctx, m, dir)
	if r != (result{}) || !t.bench || m.argued != nil && m.argued.equivalent {
		return r
	}
	if err := t.unmutated(); err != nil {
		return result{err: err}
	}
	killed, err := t.play(ctx, m, dir)
	if killed {
		r.killer = byBench
	}
	r.err = err
	return r
}

// testFast runs the tests of the kind on a mutant, until one fails, but not the truth bench.
func (t *tests) testFast(ctx context.Context, m *mutant, dir string) result {
	switch m.kind {
	case "rules":
		return t.promtool(ctx, m, dir)
	case "alertmanager":
		return t.routes(ctx, m, dir)
	default:
		return t.packageTests(ctx, m, dir)
	}
}

// promtool runs promtool's tests one by one, first those that are likely to fail.
func (t *tests) promtool(ctx context.Context, m *mutant, dir string) result {
	file := filepath.Join(dir, ruleTestsFile)
	err := errors.Join(
		os.WriteFile(file, t.ruleTests, 0o600), os.WriteFile(filepath.Join(dir, rulesFile), []byte(m.after), 0o600))
	if err != nil {
		return result{err: err}
	}
	rule, _, _ := strings.Cut(strings.TrimPrefix(m.name, "rules "), ": ")
	for _, test := range t.inOrder(rule) {
		if _, together := m.rule(); together && test.whole {
			continue // its clone has passed
		}
		started := time.Now()
		only := "--run=^" + regexp.QuoteMeta(test.name) + "$"
		killed, err := t.fails(ctx, ".", nil, "promtool", "test", "rules", only, file)
		if err != nil {
			return result{err: err}
		}
		t.mu.Lock()
		if test.took == 0 { // the original is the first to be tested
			test.took = time.Since(started)
		}
		t.mu.Unlock()
		if killed {
			t.killed(test, rule)
			return result{killer: byPromtool, test: strconv.Quote(test.name)}
		}
	}
	return result{}
}

// killed counts a mutant of a rule that a test killed.
func (t *tests) killed(test *ruleTest, rule string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	test.kills[rule]++
	test.kills[""]++
}

// inOrder returns the tests, first those that killed most mutants of this rule, then those with its name, then those
// that killed most, then the fast ones.
func (t *tests) inOrder(rule string) []*ruleTest {
	t.mu.Lock()
	defer t.mu.Unlock()
	alert, _, _ := strings.Cut(rule, " ")
	score := make(map[*ruleTest]int)
	for _, test := range t.rules {
		score[test] = 1_000_000*test.kills[rule] + test.kills[""]
		if strings.Contains(test.name, alert) {
			score[test] += 1000
		}
	}
	ordered := slices.Clone(t.rules)
	slices.SortStableFunc(ordered, func(a, b *ruleTest) int {
		return cmp.Or(score[b]-score[a], cmp.Compare(a.took, b.took))
	})
	return ordered
}

// routes runs the tests of the Alertmanager example.
func (t *tests) routes(ctx context.Context, m *mutant, dir string) result {
	environment, err := t.environment(m, dir)
	if err != nil {
		return result{err: err}
	}
	killed, err := t.fails(ctx, ".", environment, t.binary(), "-test.run="+alertmanagerTests, "-test.failfast")
	if killed {
		return result{killer: byTests}
	}
	return result{err: err}
}

// packageTests runs the tests of the package of a Go file.
func (t *tests) packageTests(ctx context.Context, m *mutant, dir string) result {
	overlay, err := t.overlay(m, dir)
	if err != nil {
		return result{err: err}
	}
	binary, source := filepath.Join(dir, "package.test"), filepath.Dir(m.path)
	broken, err := t.fails(ctx, source, nil, "go", "test", "-vet=off", overlay, "-c", "-o", binary, ".")
	if broken || err != nil {
		return result{broken: broken, err: err}
	}
	killed, err := t.fails(ctx, source, nil, binary, "-test.failfast", "-test.timeout=2m")
	if killed {
		return result{killer: byTests}
	}
	return result{err: err}
}

// play reports whether the truth bench fails with a mutant.
func (t *tests) play(ctx context.Context, m *mutant, dir string) (killed bool, err error) {
	environment, err := t.environment(m, dir)
	if err != nil {
		return false, err
	}
	binary := t.binary()
	if m.kind == "code" {
		overlay, err := t.overlay(m, dir)
		if err != nil {
			return false, err
		}
		binary = filepath.Join(dir, "e2e.test")
		if err := t.command(ctx, ".", nil, "go", "test", "-vet=off", overlay, "-c", "-o", binary, "."); err != nil {
			return false, err
		}
	}
	return t.fails(ctx, ".", environment, binary, "-test.run="+t.benchRun, "-test.skip="+t.benchSkip,
		"-test.failfast", "-test.timeout=30m")
}

// playUnmutated returns an error if the truth bench fails without a mutation.
func (t *tests) playUnmutated(ctx context.Context) error {
	failed, err := t.play(ctx, &mutant{}, t.dir)
	if failed {
		err = errors.New("the truth bench fails without a mutation")
	}
	return err
}

// environment returns variables that let the tests of e2e use a mutant of rules or Alertmanager example.
func (*tests) environment(m *mutant, dir string) ([]string, error) {
	path := filepath.Join(dir, filepath.Base(m.path))
	environment := []string{"RUFUS_TRUTH_FAILFAST=1", "CI_FULL="}
	switch m.kind {
	case "rules":
		environment = append(environment, "RUFUS_RULES="+path)
	case "alertmanager":
		environment = append(environment, "RUFUS_ALERTMANAGER="+path)
	case "":
		return append(environment, "GOMAXPROCS="+strconv.Itoa(runtime.NumCPU())), nil // all others wait for it
	default:
		return environment, nil
	}
	return environment, os.WriteFile(path, []byte(m.after), 0o600)
}

// overlay returns the flag that lets the go command read a mutant in place of its file.
func (*tests) overlay(m *mutant, dir string) (string, error) {
	original, err := filepath.Abs(m.path)
	if err != nil {
		return "", err
	}
	mutated, description := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	content, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		return "", err
	}
	err = errors.Join(os.WriteFile(mutated, []byte(m.after), 0o600), os.WriteFile(description, content, 0o600))
	return "-overlay=" + description, err
}

// fails runs a command and reports whether it fails. An error is one that keeps it from being run.
func (t *tests) fails(ctx context.Context, dir string, env []string, name string, args ...string) (bool, error) {
	err := t.command(ctx, dir, env, name, args...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() && ctx.Err() == nil {
		return true, nil
	}
	return false, err // also if a signal ended it, which proves nothing
}

// command runs a command. Its output is part of the error.
func (t *tests) command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	command := exec.CommandContext(ctx, name, args...) //nolint:gosec // the commands are those of this file
	command.Dir = dir
	command.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(t.cores))
	command.Env = append(command.Env, env...)
	command.WaitDelay = 10 * time.Second
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, output)
	}
	return nil
}
