package e2e

import (
	"bytes"
	"cmp"
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
			Regex      string
			AllValue   string
		}
	}
	Annotations struct {
		List []struct {
			Name, Expr, TitleFormat string
			Datasource              *datasource
			Filter                  struct {
				Exclude bool
				IDs     []int
			}
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
	Repeat      string
	FieldConfig struct {
		Defaults  struct{ Mappings []mappings }
		Overrides []struct {
			Matcher    struct{ ID, Options string }
			Properties []struct {
				ID    string
				Value json.RawMessage
			}
		}
	}
	Options struct{ Content string }
	Targets []struct {
		RefID, Expr, LegendFormat string
		Instant                   bool
	}
	Transformations []struct {
		Options struct {
			Include      struct{ Names []string }
			RenameByName map[string]string
		}
	}
	Panels []panel // of a row that is folded
}

// mappings say what is shown instead of a value.
type mappings struct {
	Type    string
	Options json.RawMessage // of the type value: by values
}

// shown is a text, or a colour, or both.
type shown struct{ Text, Color string }

// mapping returns what is shown instead of a value of a query.
func (p panel) mapping(refID, value string) shown {
	for _, override := range p.FieldConfig.Overrides {
		for _, property := range override.Properties {
			var all []mappings
			if override.Matcher.Options == refID && property.ID == "mappings" && json.Unmarshal(property.Value, &all) == nil {
				return mapped(all, value)
			}
		}
	}
	return shown{}
}

func mapped(all []mappings, value string) shown {
	for _, m := range all {
		var values map[string]shown
		if m.Type == "value" && json.Unmarshal(m.Options, &values) == nil {
			return values[value]
		}
	}
	return shown{}
}

func readDashboard(t *testing.T, path string) (d dashboard, text []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
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
	found := slices.DeleteFunc(d.unfolded(), func(p panel) bool { return p.Title != title })
	if len(found) != 1 {
		t.Fatalf("%d panels are called %s", len(found), title)
	}
	return found[0]
}

// unfolded returns all panels, those of folded rows too.
func (d dashboard) unfolded() []panel {
	var all []panel
	for _, p := range d.Panels {
		all = append(append(all, p), p.Panels...)
	}
	return all
}

// query returns a query of the only panel with that title.
func (d dashboard) query(t *testing.T, title, refID string) expression {
	t.Helper()
	for _, target := range d.panel(t, title).Targets {
		if target.RefID == refID {
			return expression{where: title + " " + refID, promQL: target.Expr, instant: true}
		}
	}
	t.Fatalf("%s has no query %s", title, refID)
	return expression{}
}

// variable returns the query of a variable.
func (d dashboard) variable(t *testing.T, name string) expression {
	t.Helper()
	for _, e := range d.expressions(t) {
		if e.where == "variable "+name {
			return e
		}
	}
	t.Fatalf("no variable %s asks", name)
	return expression{}
}

// expression is a query of the dashboard, with the variables as they stand there.
type expression struct {
	where   string
	promQL  string
	legend  string // in which {{label}} stands for the value of a label
	instant bool   // asked for the present only, not for a time
	options *regexp.Regexp
}

// option returns the choice that a variable offers for a line of the answer, which has the labels and the value.
func (e expression) option(line string) []string {
	if match := e.options.FindStringSubmatch(line); match != nil {
		return match[1:]
	}
	return nil
}

// expressions returns every query: of panels, annotations and variables.
func (d dashboard) expressions(t *testing.T) []expression {
	t.Helper()
	var all []expression
	for _, p := range d.unfolded() {
		for _, target := range p.Targets {
			where := fmt.Sprintf("panel %d, %s %s", p.ID, p.Title, target.RefID)
			all = append(all, expression{where, target.Expr, target.LegendFormat, target.Instant, nil})
		}
	}
	for _, a := range d.Annotations.List {
		all = append(all, expression{"annotation " + a.Name, a.Expr, a.TitleFormat, false, nil})
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		match := queryResult.FindStringSubmatch(v.Definition)
		if match == nil {
			t.Fatalf("variable %s: %q is not query_result(query)", v.Name, v.Definition)
		}
		// Grafana applies it to the labels and the value.
		options, err := regexp.Compile(strings.Trim(v.Regex, "/"))
		if err != nil || !strings.HasPrefix(v.Regex, "/") || !strings.HasSuffix(v.Regex, "/") {
			t.Fatalf("variable %s: %q: %v", v.Name, v.Regex, err)
		}
		all = append(all, expression{"variable " + v.Name, match[1], "{{" + v.Name + "}}", true, options})
	}
	return all
}

var (
	queryResult = regexp.MustCompile(`^query_result\((.+)\)$`) // on one line, as Grafana wants it
	legendLabel = regexp.MustCompile(`{{(\w+)}}`)
)

// substituted returns the expression as Grafana sends it while all of every variable is chosen.
func (e expression) substituted(t *testing.T) string {
	t.Helper()
	return e.chosen(t, "")
}

// chosen returns the expression as Grafana sends it while one race is chosen, or all for "".
func (e expression) chosen(t *testing.T, race string) string {
	t.Helper()
	promQL := strings.NewReplacer(
		"$race", cmp.Or(race, ".*"),
		"$session", ".*",
		"$start", "(?i).*start.*",
		"$finish", "(?i).*finish.*",
		"$__rate_interval", "1m",
	).Replace(e.promQL)
	if unknown := regexp.MustCompile(`\$[a-z_{]`).FindString(promQL); unknown != "" {
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
// Of alerts not each: many take longer to fire than the test of queries lasts.
func (e expression) parts(t *testing.T) []string {
	t.Helper()
	var parts []string
	for _, selector := range e.selectors(t) {
		if part := selector.String(); !strings.HasPrefix(part, "ALERTS") || !strings.Contains(part, "severity=") {
			parts = append(parts, part)
		}
	}
	return append(parts, e.substituted(t))
}

// Grafana can import the dashboard and lay it out, and no query hides from the test of queries.
func TestDashboardLayout(t *testing.T) {
	t.Parallel()
	d, text := readDashboard(t, dashboardFile)

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
	if want := []string{"datasource", "race", "session", "start", "finish", "page"}; !slices.Equal(variables, want) {
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
	for _, p := range d.unfolded() {
		if p.ID < 1 || ids[p.ID] != "" {
			t.Errorf("panel %q has the id %d, like %q", p.Title, p.ID, ids[p.ID])
		}
		ids[p.ID] = cmp.Or(p.Title, p.Type)
		if p.Type != "row" && p.Type != "text" {
			checkPanel(t, p)
		}
		if p.Type == "row" {
			checkGrid(t, p.Panels)
		}
	}
	checkGrid(t, d.Panels)
	for _, v := range d.Templating.List {
		// A list of all names would leave out those of mats that came since the list was made.
		if v.Type == "query" && (v.Datasource == nil || v.AllValue != ".*") {
			t.Errorf("variable %s has the data source %v, and %q for all", v.Name, v.Datasource, v.AllValue)
		}
	}
	for _, a := range d.Annotations.List {
		if a.Datasource == nil {
			t.Errorf("annotation %s has no data source", a.Name)
		}
		// The copies of a repeated row have ids that nobody knows before.
		if !a.Filter.Exclude || slices.ContainsFunc(a.Filter.IDs, func(id int) bool { return ids[id] == "" }) {
			t.Errorf("annotation %s is for %+v", a.Name, a.Filter)
		}
	}
	// What to do stands first, with the way to the runbook.
	if head := d.Panels[0]; head.Type != "text" || !strings.Contains(head.Options.Content, "](${page}runbook)") {
		t.Errorf("the head is %q", head.Options.Content)
	}
}

// checkGrid reports panels that are outside of the dashboard or on top of each other.
func checkGrid(t *testing.T, panels []panel) {
	t.Helper()
	cells := map[[2]int]string{}
	for _, p := range panels {
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
	}
}

// checkPanel reports what a panel that asks Prometheus lacks, and overrides that are for nothing.
func checkPanel(t *testing.T, p panel) {
	t.Helper()
	if p.Title == "" || p.Datasource == nil || p.Description == "" || len(p.Targets) == 0 {
		t.Errorf("panel %d, %q, has no title, data source, description or query", p.ID, p.Title)
	}
	refs := map[string]bool{}
	for _, target := range p.Targets {
		if target.RefID == "" || refs[target.RefID] {
			t.Errorf("panel %q: refId %q", p.Title, target.RefID)
		}
		refs[target.RefID] = true
	}
	columns := map[string]bool{}
	for _, transformation := range p.Transformations {
		for _, name := range transformation.Options.Include.Names {
			columns[name] = true
		}
		for before, after := range transformation.Options.RenameByName {
			if !columns[before] {
				t.Errorf("panel %q: there is no column %s", p.Title, before)
			}
			delete(columns, before)
			columns[after] = true
		}
	}
	for _, override := range p.FieldConfig.Overrides {
		m := override.Matcher
		if m.ID != "byFrameRefID" && m.ID != "byName" || m.ID == "byName" && !columns[m.Options] ||
			m.ID == "byFrameRefID" && !refs[m.Options] {
			t.Errorf("panel %q: an override is for %+v", p.Title, m)
		}
	}
}

// Grafana's own types have a place for all that is in the file: no option is misspelt, none has the wrong type.
func TestDashboardSchema(t *testing.T) {
	t.Parallel()
	_, text := readDashboard(t, dashboardFile)
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
	fiveK.Mats = append(fiveK.Mats, simulator.Mat{Alias: "SPLIT-5K", At: 0.7}, simulator.Mat{Alias: "GATE", At: 0.1})
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
		{token: day.Device("GATE").Sessions[0].Token, name: "gate"}, // without a race
		{token: day.Device("START-5K").Sessions[0].Token, name: "start-5k", more: fmt.Sprintf(
			"labels: {race: 5k}\n    expected: {from: %s, until: %s}",
			now.Add(time.Hour).Format(time.RFC3339), now.Add(2*time.Hour).Format(time.RFC3339))},
	}, "device_metrics: true"))

	rules, err := os.ReadFile("../monitoring/rufus.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	// What the rules find is not in question here, only that something of it is shown.
	rulesFile := file(t, "rufus.rules.yml",
		replaced(t, string(rules), "interval: 15s", "interval: 3s", "interval: 30s", "interval: 3s"))
	const histograms = "scrape_native_histograms: true, always_scrape_classic_histograms: true"
	p := startPrometheus(t, replaced(t, documented(t, "../README.md", e.address, histograms),
		"scrape_interval: 15s", "scrape_interval: 3s", "scrape_timeout: 10s", "scrape_timeout: 3s")+
		"\nrule_files: ["+rulesFile+"]\n")

	d, _ := readDashboard(t, dashboardFile)
	names := map[string]bool{"up": true, "scrape_duration_seconds": true, "ALERTS": true, "ALERTS_FOR_STATE": true}
	names["rufus_api_request_duration_seconds"] = true // as a native histogram
	for _, match := range regexp.MustCompile(`(?m)- record: (\S+)$`).FindAllSubmatch(rules, -1) {
		names[string(match[1])] = true
	}
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
	tile := d.panel(t, "$session")
	state := d.query(t, "$session", "A").substituted(t)
	want := map[string]string{
		"finish-5k": "ok", "turn-5k": "silent", "split-5k": "finished", "mistyped": "failing", "gate": "ok",
		"start-5k": "waiting",
	}
	eventually(t, "every state", func() error {
		got := map[string]string{}
		for session, code := range p.bySession(t, state) {
			got[session] = tile.mapping("A", fmt.Sprint(code)).Text
		}
		if !maps.Equal(got, want) {
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
