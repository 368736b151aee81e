// Mutants changes the alert rules, the Alertmanager example and the code that decides what metrics and the page say, in
// one place at a time, and runs the tests on each change. A mutant that survives shows what no test holds.
//
// It runs in e2e/, with promtool on PATH:
//
//	go run ./mutants -kind rules -match RufusClockAhead
//
// It fails if a mutant survives that is not argued in mutants/argued.txt, or, unless it took a sample, if 3 % of all
// survive. The tests must pass without a mutation.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// truthBearing is the code that decides what metrics and the page say.
var truthBearing = []string{
	"../collector/memory.go", "../collector/metrics.go", "../collector/roster.go", "../collector/sessions.go",
	"../config/races.go", "../window/window.go",
	"../rufus/answer.go", "../rufus/client.go", "../rufus/json.go", "../rufus/session.go",
	"../state/memory.go", "../state/state.go", "../web/headline.go", "../web/mat.go",
}

// maxSurvival is the share of all mutants that may survive.
const maxSurvival = 0.03

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(stderr)
	kind := flags.String("kind", "rules,alertmanager,code", "Kinds of mutants to test, separated by commas.")
	match := flags.String("match", "", "Regular expression for the names of the mutants to test.")
	sample := flags.Int("sample", 0, "Number of mutants of each kind to test; 0 for all.")
	seed := flags.Uint64("seed", 1, "Seed of the sample.")
	parallel := flags.Int("parallel", 2, "Number of mutants to test at a time.")
	list := flags.Bool("list", false, "List the mutants and test nothing.")
	bench := flags.Bool("bench", true, "Play the days of the truth bench with mutants that the other tests do not kill.")
	benchRun := flags.String("bench.run", "^TestTruth", "Tests of the truth bench, as for go test -run.")
	benchSkip := flags.String("bench.skip", "^TestTruthBenchCanFail$",
		"Tests that do not concern mutants, as for go test -skip.")
	monitoring := flags.String("monitoring", "../monitoring",
		"Directory of the rules, their tests and the Alertmanager example.")
	argued := flags.String("argued", "mutants/argued.txt",
		"Path of the list of survivors that are equivalent or accepted.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	matches, err := regexp.Compile(*match)
	if err != nil {
		return err
	}

	all, err := mutants(*monitoring)
	if err != nil {
		return err
	}
	if err := argue(*argued, all); err != nil {
		return err
	}
	chosen, err := choose(all, strings.Split(*kind, ","), matches, *sample, *seed)
	if err != nil {
		return err
	}
	out := log.New(stdout, "", 0)
	if *list {
		for _, m := range chosen {
			out.Print(m.name)
		}
		return nil
	}

	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tests := &tests{
		dir: dir, monitoring: *monitoring, cores: max(1, runtime.NumCPU() / *parallel),
		bench: *bench, benchRun: *benchRun, benchSkip: *benchSkip,
	}
	tests.unmutated = sync.OnceValue(func() error { return tests.playUnmutated(ctx) })
	if err := tests.prepare(ctx, all, chosen); err != nil {
		return err
	}
	results := testAll(ctx, tests, chosen, *parallel, log.New(stderr, "", 0))
	if err := ctx.Err(); err != nil {
		return err
	}
	return report(out, results, len(chosen) == len(all))
}

// choose returns the mutants of some kinds whose names match; with a sample, at most so many of each kind.
func choose(all []mutant, kinds []string, name *regexp.Regexp, sample int, seed uint64) ([]mutant, error) {
	var chosen []mutant
	for _, kind := range kinds {
		var of []mutant
		for _, m := range all {
			if m.kind == kind && name.MatchString(m.name) {
				of = append(of, m)
			}
		}
		if len(of) == 0 {
			return nil, fmt.Errorf("there are no such mutants of %q", kind)
		}
		if sample > 0 && sample < len(of) {
			random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a sample is to be the same for the same seed
			random.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
			of = of[:sample]
		}
		chosen = append(chosen, of...)
	}
	return chosen, nil
}

// mutants makes all mutants of all kinds.
func mutants(monitoring string) ([]mutant, error) {
	makers := map[string]func(path, content string) ([]mutant, error){
		filepath.Join(monitoring, rulesFile):        ruleMutants,
		filepath.Join(monitoring, alertmanagerFile): alertmanagerMutants,
	}
	paths := []string{filepath.Join(monitoring, rulesFile), filepath.Join(monitoring, alertmanagerFile)}
	for _, path := range truthBearing {
		makers[path] = codeMutants
		paths = append(paths, path)
	}
	var all []mutant
	for _, path := range paths {
		content, err := os.ReadFile(path) //nolint:gosec // the paths are those of whoever started it
		if err != nil {
			return nil, fmt.Errorf("%w (mutants runs in e2e/)", err)
		}
		some, err := makers[path](path, string(content))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// result is what became of a mutant.
type result struct {
	mutant

	killer string // the kind of test that failed, "" if it survived
	test   string // more about that
	broken bool   // it does not compile, and is not a mutant
	took   time.Duration
	err    error
}

// testAll tests some mutants at a time, and tells of each.
func testAll(ctx context.Context, tests *tests, chosen []mutant, parallel int, progress *log.Logger) []result {
	results := make([]result, len(chosen))
	next := make(chan []int)
	var running sync.WaitGroup
	var done atomic.Int32
	for range parallel {
		running.Go(func() {
			for together := range next {
				tests.testPack(ctx, chosen, together, func(i int, r result) {
					results[i] = r
					progress.Printf("%d/%d %s %s: %s", done.Add(1), len(chosen), r.took.Round(time.Second/10), r, r.name)
				})
			}
		})
	}
	for _, together := range packs(chosen) {
		if ctx.Err() == nil {
			next <- together
		}
	}
	close(next)
	running.Wait()
	return results
}

// testPack tests mutants that can be tested together, by their indices: first by promtool as clones, then one by one
// what survives that.
func (t *tests) testPack(ctx context.Context, chosen []mutant, together []int, report func(int, result)) {
	var killers map[*mutant]string
	var err error
	started, share := time.Now(), time.Duration(0)
	if _, ok := chosen[together[0]].rule(); ok {
		var mutants []*mutant
		for _, i := range together {
			mutants = append(mutants, &chosen[i])
		}
		killers, err = t.promtoolAll(ctx, mutants)
		share = time.Since(started) / time.Duration(len(together))
	}
	for _, i := range together {
		started := time.Now()
		r := result{err: err}
		if killer := killers[&chosen[i]]; killer != "" {
			r = result{killer: byPromtool, test: strconv.Quote(killer)}
		} else if err == nil {
			r = t.test(ctx, &chosen[i])
		}
		r.mutant, r.took = chosen[i], share+time.Since(started)
		report(i, r)
	}
}

// maxTogether is how many mutants of a rule are tested in one run of promtool.
const maxTogether = 50

// packs returns the indices of mutants that can be tested together: those of one rule.
func packs(chosen []mutant) [][]int {
	var all [][]int
	newest := map[string]int{} // the last pack of a rule
	for i := range chosen {
		rule, ok := chosen[i].rule()
		if pack, has := newest[rule]; ok && has && len(all[pack]) < maxTogether {
			all[pack] = append(all[pack], i)
			continue
		}
		if ok {
			newest[rule] = len(all)
		}
		all = append(all, []int{i})
	}
	return all
}

// String says what became of the mutant.
func (r result) String() string {
	switch {
	case r.err != nil:
		return "ERROR " + r.err.Error()
	case r.broken:
		return "does not compile"
	case r.killer == "":
		return "SURVIVED"
	default:
		return "killed by " + strings.TrimSpace(r.killer+" "+r.test)
	}
}

// report prints what became of the mutants. It returns an error if more survive than may.
func report(out *log.Logger, results []result, all bool) error {
	var problems []error
	survivors, unargued, equivalent, total := 0, 0, 0, 0
	counts := map[string]map[string]int{}
	took := map[string]time.Duration{}
	var kinds []string
	for _, r := range results {
		switch {
		case r.err != nil:
			problems = append(problems, fmt.Errorf("%s: %w", r.name, r.err))
			continue
		case r.broken:
			continue
		}
		if counts[r.kind] == nil {
			counts[r.kind] = map[string]int{}
			kinds = append(kinds, r.kind)
		}
		total++
		counts[r.kind]["all"]++
		took[r.kind] += r.took
		switch {
		case r.killer != "":
			counts[r.kind][r.killer]++
			if r.argued != nil {
				out.Printf("Killed, though argued in line %d: %s\n\n", r.argued.line, r.name)
			}
			continue
		case r.argued == nil:
			unargued++
		case r.argued.equivalent:
			equivalent++
		}
		survivors++
		counts[r.kind]["survived"]++
		reason := "NOT ARGUED"
		if r.argued != nil {
			counts[r.kind]["argued"]++
			reason = r.argued.reason
		}
		out.Printf("Survived: %s\n%s\n(%s)\n\n", r.name, r.diff(), reason)
	}

	lines := [][]any{{"KIND", "MUTANTS", "PROMTOOL", "TESTS", "BENCH", "SURVIVED", "ARGUED", "SECONDS EACH"}}
	for _, kind := range kinds {
		c := counts[kind]
		lines = append(lines, []any{
			kind, c["all"], c[byPromtool], c[byTests], c[byBench], c["survived"], c["argued"],
			fmt.Sprintf("%.2f", took[kind].Seconds()/float64(c["all"])),
		})
	}
	for _, line := range lines {
		out.Printf(strings.Repeat("%-12v  ", len(line)-1)+"%v", line...)
	}
	if unargued > 0 {
		problems = append(problems, fmt.Errorf("%d survive and are not argued", unargued))
	}
	rate := float64(survivors-equivalent) / float64(max(1, total-equivalent))
	out.Printf("%.1f %% survive, not counting %d that are equivalent.", 100*rate, equivalent)
	if all && rate >= maxSurvival { // in a sample, one more is chance
		problems = append(problems, fmt.Errorf("%.0f %% or more survive", 100*maxSurvival))
	}
	return errors.Join(problems...)
}

// argument says why mutants may survive.
type argument struct {
	line       int
	mutant     *regexp.Regexp
	reason     string
	equivalent bool // no test can kill it
}

// argue reads the list of argued survivors and tells the mutants their arguments: the name of a mutant, in which *
// stands for anything, then why it survives in lines that are indented. The reason begins with "equivalent:" if no test
// can kill the mutant.
func argue(path string, all []mutant) error {
	content, err := os.ReadFile(path) //nolint:gosec // the path is that of whoever started it
	if err != nil {
		return err
	}
	var arguments []*argument
	for i, line := range strings.Split(string(content), "\n") {
		text := strings.TrimSpace(line)
		switch {
		case text == "" || line[0] == '#':
		case line[0] != ' ':
			pattern := strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, ".*")
			arguments = append(arguments, &argument{line: i + 1, mutant: regexp.MustCompile("^" + pattern + "$")})
		case len(arguments) == 0:
			return fmt.Errorf("%s:%d: a reason for no mutant", path, i+1)
		default:
			a := arguments[len(arguments)-1]
			a.reason = strings.TrimSpace(a.reason + " " + text)
			a.equivalent = strings.HasPrefix(a.reason, "equivalent:")
		}
	}
	var problems []error
	for _, a := range arguments {
		found := false
		for i := range all {
			if a.mutant.MatchString(strings.TrimSpace(all[i].name)) { // a removal ends with "=> "
				found = true
				all[i].argued = cmp.Or(all[i].argued, a)
			}
		}
		if !found {
			problems = append(problems, fmt.Errorf("%s:%d: there is no such mutant", path, a.line))
		}
		if a.reason == "" {
			problems = append(problems, fmt.Errorf("%s:%d: no reason", path, a.line))
		}
	}
	return errors.Join(problems...)
}
