package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	sdk "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	prom "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"rufus_exporter/simulator"
)

const dashboardFile = "../monitoring/dashboard.json"

// dashboard is what these tests look at of the file.
type dashboard struct {
	ID            *int // given by the Grafana it is imported into
	UID           string
	Title         string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type string
			Datasource *datasource
			Definition string
		}
	}
	Annotations struct {
		List []struct {
			Name, Expr, TitleFormat string
			Datasource              *datasource
		}
	}
	Panels []panel
}

type datasource struct{ Type, UID string }

type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Datasource  *datasource
	FieldConfig struct {
		Overrides []struct{ Matcher struct{ ID, Options string } }
	}
	Targets []struct {
		RefID, Expr, LegendFormat string
		Instant                   bool
	}
	Panels []panel // of a row that is folded
}

func readDashboard(t *testing.T) (d dashboard, text []byte) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d, text
}

// panel returns the only panel with that title.
func (d dashboard) panel(t *testing.T, title string) panel {
	t.Helper()
	found := slices.DeleteFunc(slices.Clone(d.Panels), func(p panel) bool { return p.Title != title })
	if len(found) != 1 {
		t.Fatalf("%d panels are called %s", len(found), title)
	}
	return found[0]
}

// expression is a query of the dashboard, with the variables as they stand there.
type expression struct {
	where   string
	promQL  string
	legend  string // in which {{label}} stands for the value of a label
	instant bool   // asked for the present only, not for a time
}

// expressions returns every query: of panels, annotations and variables.
func (d dashboard) expressions(t *testing.T) []expression {
	t.Helper()
	var all []expression
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			where := "panel " + p.Title + " " + target.RefID
			all = append(all, expression{where, target.Expr, target.LegendFormat, target.Instant})
		}
	}
	for _, a := range d.Annotations.List {
		all = append(all, expression{"annotation " + a.Name, a.Expr, a.TitleFormat, false})
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		match := labelValues.FindStringSubmatch(v.Definition)
		if match == nil {
			t.Fatalf("variable %s: %q is not label_values(series, label)", v.Name, v.Definition)
		}
		all = append(all, expression{"variable " + v.Name, match[1], "{{" + match[2] + "}}", false})
	}
	return all
}

var (
	labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	legendLabel = regexp.MustCompile(`{{(\w+)}}`)
)

// substituted returns the expression as Grafana sends it while all of every variable is chosen.
func (e expression) substituted(t *testing.T) string {
	t.Helper()
	promQL := strings.NewReplacer(
		"$race", ".*",
		"$session", "(finish-5k|turn-5k|split-5k|mistyped)",
		"$__rate_interval", "1m",
	).Replace(e.promQL)
	if strings.Contains(promQL, "$") {
		t.Errorf("%s: an unknown variable is left in %s", e.where, promQL)
	}
	return promQL
}

// selectors returns what an expression selects.
func (e expression) selectors(t *testing.T) []*parser.VectorSelector {
	t.Helper()
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(e.substituted(t))
	if err != nil {
		t.Fatalf("%s: %v", e.where, err)
	}
	var found []*parser.VectorSelector
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			found = append(found, selector)
		}
		return nil
	})
	return found
}

// names returns those of all metrics in an expression.
func (e expression) names(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, selector := range e.selectors(t) {
		names = append(names, selector.Name)
	}
	return names
}

// parts returns what must have a result: all that an expression selects, each side of an "or" too, and the whole, last.
// Critical alerts take longer to fire than the test of queries lasts.
func (e expression) parts(t *testing.T) []string {
	t.Helper()
	var parts []string
	for _, selector := range e.selectors(t) {
		if part := selector.String(); !strings.Contains(part, `severity="critical"`) {
			parts = append(parts, part)
		}
	}
	return append(parts, e.substituted(t))
}

// Grafana can import the dashboard and lay it out, and no query hides from the test of queries.
func TestDashboardLayout(t *testing.T) {
	t.Parallel()
	d, text := readDashboard(t)

	var tidy bytes.Buffer
	if err := json.Indent(&tidy, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tidy.Bytes(), text) {
		t.Error("not indented as Grafana exports it, by two spaces")
	}
	// Of Grafana 10.0; newer ones raise it themselves when they read it.
	if d.ID != nil || d.UID == "" || d.Title == "" || d.SchemaVersion != 38 {
		t.Errorf("id %v, uid %q, title %q, schemaVersion %d", d.ID, d.UID, d.Title, d.SchemaVersion)
	}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if want := []string{"datasource", "race", "session"}; !slices.Equal(variables, want) {
		t.Errorf("variables %q, want %q", variables, want)
	}

	var everything any
	if err := json.Unmarshal(text, &everything); err != nil {
		t.Fatal(err)
	}
	queries := 0
	walk(everything, func(object map[string]any) {
		if value, ok := object["datasource"]; ok {
			want := map[string]any{"type": "prometheus", "uid": "${datasource}"}
			if source, _ := value.(map[string]any); !maps.Equal(source, want) {
				t.Errorf("data source %v, want %v", value, want)
			}
		}
		for _, key := range []string{"expr", "definition"} {
			if _, ok := object[key]; ok {
				queries++
			}
		}
	})
	if n := len(d.expressions(t)); n != queries || n < 20 {
		t.Errorf("%d queries were found in panels, annotations and variables, but the file has %d", n, queries)
	}

	ids := map[int]string{}
	cells := map[[2]int]string{}
	for _, p := range d.Panels {
		if p.ID < 1 || p.Title == "" || ids[p.ID] != "" {
			t.Errorf("panel %q has the id %d, like %q", p.Title, p.ID, ids[p.ID])
		}
		ids[p.ID] = p.Title
		if g := p.GridPos; g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
			t.Errorf("panel %q lies outside: %+v", p.Title, g)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, taken := cells[cell]; taken {
					t.Fatalf("panels %q and %q overlap at %v", p.Title, other, cell)
				}
				cells[cell] = p.Title
			}
		}
		if p.Type == "row" {
			if len(p.Panels) > 0 {
				t.Errorf("row %q is folded: its panels are not tested", p.Title)
			}
			continue
		}
		if p.Datasource == nil || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q has no data source, description or query", p.Title)
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if target.RefID == "" || refs[target.RefID] {
				t.Errorf("panel %q: refId %q", p.Title, target.RefID)
			}
			refs[target.RefID] = true
		}
		for _, override := range p.FieldConfig.Overrides {
			if m := override.Matcher; m.ID != "byFrameRefID" || !refs[m.Options] {
				t.Errorf("panel %q: an override is for %+v", p.Title, m)
			}
		}
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" && v.Datasource == nil {
			t.Errorf("variable %s has no data source", v.Name)
		}
	}
	for _, a := range d.Annotations.List {
		if a.Datasource == nil {
			t.Errorf("annotation %s has no data source", a.Name)
		}
	}
}

// Grafana's own types have a place for all that is in the file: no option is misspelt, none has the wrong type.
func TestDashboardSchema(t *testing.T) {
	t.Parallel()
	_, text := readDashboard(t)
	var everything any
	if err := json.Unmarshal(text, &everything); err != nil {
		t.Fatal(err)
	}
	// The types do not know what Prometheus' annotations have of their own.
	walk(everything, func(object map[string]any) {
		if _, annotation := object["titleFormat"]; annotation {
			delete(object, "step")
			delete(object, "titleFormat")
			delete(object, "useValueForTime")
		}
	})
	rest, err := json.Marshal(everything)
	if err != nil {
		t.Fatal(err)
	}
	plugins.RegisterDefaultPlugins()
	var typed sdk.Dashboard
	if err := typed.UnmarshalJSONStrict(rest); err != nil {
		t.Error(err)
	}
	if err := typed.Validate(); err != nil {
		t.Error(err)
	}
}

// walk calls visit for every object in a decoded JSON document.
func walk(value any, visit func(object map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		visit(value)
		for _, child := range value {
			walk(child, visit)
		}
	case []any:
		for _, child := range value {
			walk(child, visit)
		}
	}
}

// Every query asks for what exists, and a real Prometheus has an answer on a day on which everything happens: mats
// count, fall silent, are closed and fail, START is pressed again, batteries drain, and the API asks to wait.
func TestDashboardQueries(t *testing.T) {
	t.Parallel()
	now := time.Now()
	fiveK := simulator.FiveK(now.Add(-40*time.Minute), 300)
	fiveK.Mats = append(fiveK.Mats, simulator.Mat{Alias: "SPLIT-5K", At: 0.7})
	day := simulator.NewDay(fiveK)
	finish, turn := day.Device("FINISH-5K"), day.Device("TURN-5K")
	finish.PressStart(now.Add(30*time.Second), 0)
	day.Device("SPLIT-5K").Close(now.Add(-10 * time.Minute))
	api := simulate(t, day, now)
	e := startExporter(t, api.sessionsFile([]fileEntry{
		{device: finish.ID, name: "finish-5k", more: "labels: {race: 5k}"},
		{token: turn.Sessions[0].Token, name: "turn-5k", more: "labels: {race: 5k}\n    silent_after: 1s"},
		{token: day.Device("SPLIT-5K").Sessions[0].Token, name: "split-5k", more: "labels: {race: 5k}"},
		{token: simulator.ID("nobody"), name: "mistyped", more: "labels: {race: 5k}"},
	}, "device_metrics: true"))

	rules, err := os.ReadFile("../monitoring/rufus.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	// What the rules find is not in question here, only that something of it is shown.
	rulesFile := file(t, "rufus.rules.yml", replaced(t, string(rules), "interval: 15s", "interval: 3s"))
	p := startPrometheus(t, replaced(t, documented(t, "../README.md", e.address, ""),
		"scrape_interval: 15s", "scrape_interval: 3s", "scrape_timeout: 10s", "scrape_timeout: 3s")+
		"\nrule_files: ["+rulesFile+"]\n")

	d, _ := readDashboard(t)
	names := map[string]bool{"up": true, "scrape_duration_seconds": true, "ALERTS": true, "ALERTS_FOR_STATE": true}
	shown := map[string]model.Vector{} // by the queries of the present
	look := func() {
		t.Helper()
		body, _ := request(t, http.MethodGet, e.URL+"/metrics", nil)
		for _, name := range exposedName.FindAllString(string(body), -1) {
			names[name] = true
		}
		for _, query := range d.expressions(t) {
			if query.instant {
				for _, promQL := range query.parts(t) {
					shown[promQL] = append(shown[promQL], p.query(t, promQL)...)
				}
			}
		}
	}
	await := func(promQL string) {
		t.Helper()
		eventually(t, promQL, func() error { return atLeast(1, float64(len(p.query(t, promQL)))) })
	}
	await("count_over_time(rufus_session_up[1m]) >= 3")
	await(`ALERTS{alertname="RufusSessionSilent", alertstate="firing"}`)
	// The large tiles tell the states apart.
	state := expression{promQL: d.panel(t, "$session").Targets[0].Expr}.substituted(t)
	want := map[string]float64{"finish-5k": 1, "turn-5k": 2, "split-5k": 0, "mistyped": -1}
	eventually(t, "every state", func() error {
		if got := p.bySession(t, state); !maps.Equal(got, want) {
			return fmt.Errorf("%v, want %v", got, want)
		}
		return nil
	})
	look()

	api.clock.set(now.Add(time.Minute))
	await("changes(rufus_session_creation_timestamp[1m]) > 0")
	look()
	api.Set(func(day *simulator.Day) {
		day.Faults = []simulator.Fault{{
			From: now, To: now.Add(time.Hour), Status: http.StatusTooManyRequests, RetryAfter: time.Minute,
		}}
	})
	await("rufus_api_backoff_until_timestamp_seconds")
	look()

	throughout := prom.Range{Start: now, End: time.Now(), Step: time.Second}
	for _, query := range d.expressions(t) {
		for _, name := range query.names(t) {
			if !names[name] {
				t.Errorf("%s: %s does not exist", query.where, name)
			}
		}
		var last []model.Metric // of the whole expression
		for _, promQL := range query.parts(t) {
			last = nil
			for _, sample := range shown[promQL] {
				last = append(last, sample.Metric)
			}
			if !query.instant {
				last = p.series(t, promQL, throughout)
			}
			if len(last) == 0 {
				t.Errorf("%s: nothing comes of %s", query.where, promQL)
			}
		}
		for _, match := range legendLabel.FindAllStringSubmatch(query.legend, -1) {
			if !slices.ContainsFunc(last, func(m model.Metric) bool { return m[model.LabelName(match[1])] != "" }) {
				t.Errorf("%s: nothing has the label %s", query.where, match[1])
			}
		}
	}
	p.checkWarnings(t)
}

var exposedName = regexp.MustCompile(`(?m)^\w+`)

// series returns those that an expression has over a time, as a graph shows it.
func (s *server) series(t *testing.T, promQL string, during prom.Range) []model.Metric {
	t.Helper()
	value, warnings, _, err := s.api.QueryRange(t.Context(), promQL, during)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v, warnings: %q", promQL, err, warnings)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		t.Fatalf("%s: %s instead of a matrix", promQL, value.Type())
	}
	var metrics []model.Metric
	for _, stream := range matrix {
		metrics = append(metrics, stream.Metric)
	}
	return metrics
}
