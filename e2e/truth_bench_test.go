package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	amalert "github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	configutil "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/notifier"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	promscrape "github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"rufus_exporter/collector"
	"rufus_exporter/config"
	"rufus_exporter/rufus"
	"rufus_exporter/simulator"
	"rufus_exporter/state"
	"rufus_exporter/web"
)

// The truth bench plays race days. All of it is real but the clock and the wires: the simulated API, the exporter, and
// of Prometheus and Alertmanager the packages that scrape, store, evaluate, group, inhibit and notify, with their own
// timers and time limits. They run in a bubble of testing/synctest, where time passes as soon as everybody waits for
// it, so hours take seconds and a time-out costs nothing.

// discard is the log of those whose log nobody reads.
var discard = slog.New(slog.DiscardHandler)

// wires carry HTTP between the parts as TCP would, but inside the bubble: of a real connection the bubble's clock
// could not tell whether something is still under way on it.
type wires struct {
	mu    sync.Mutex
	hosts map[string]chan net.Conn
}

// serve answers at an address, such as api:80, until stop, which cuts the connections.
func (w *wires) serve(address string, handler http.Handler) (stop func()) {
	host := &host{address: address, calls: make(chan net.Conn), closed: make(chan struct{})}
	w.mu.Lock()
	w.hosts[address] = host.calls
	w.mu.Unlock()
	server := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(discard.Handler(), slog.LevelDebug)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(host) // always says that it was closed
	}()
	return func() {
		w.mu.Lock()
		delete(w.hosts, address)
		w.mu.Unlock()
		_ = server.Close()
		<-served
	}
}

// dial connects to whoever serves at the address.
func (w *wires) dial(ctx context.Context, _, address string) (net.Conn, error) {
	w.mu.Lock()
	calls := w.hosts[address]
	w.mu.Unlock()
	if calls == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	here, there := net.Pipe()
	select {
	case calls <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// host is the listener of one address.
type host struct {
	address string
	calls   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (h *host) Accept() (net.Conn, error) {
	select {
	case conn := <-h.calls:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *host) Addr() net.Addr { return h }
func (*host) Network() string  { return "pipe" }
func (h *host) String() string { return h.address }

// bench is a race day being played.
type bench struct {
	t     *testing.T
	gun   time.Time
	wires *wires

	api       *simulator.Server
	refused   atomic.Value // path, a string, of the calls that the API refuses
	scenario  scenario     // with the entries as they are now
	mats      []mat        // all that there ever are
	reloaded  prometheus.Gauge
	exporters map[string]*exporterProcess // by address; those that run

	server       *promServer
	alertmanager *alertmanager
	deaf         atomic.Bool   // nobody can be told of anything
	stalled      atomic.Bool   // rules are not evaluated in time
	evaluating   chan struct{} // one group of rules at a time
	dashboard    tiles
	seen         *seen
}

// at returns how long after the gun it is.
func (b *bench) at(t time.Time) time.Duration { return t.Sub(b.gun) }

// The addresses that the parts have for each other.
const (
	apiAddress          = "api:80"
	exporterAddress     = "exporter:10210"
	otherAddress        = "other:10210" // of another exporter
	prometheusAddress   = "prometheus:9090"
	alertmanagerAddress = "alertmanager:9093"
)

// exporterProcess is the program while it runs.
type exporterProcess struct {
	reload  func()                                     // the file
	states  func(now time.Time) map[string]state.State // of the mats, as the status page shows them
	started time.Time
	stop    func()
}

// config reads the sessions.yml as it is now.
func (b *bench) config() *config.Config {
	cfg, err := config.Parse([]byte(b.scenario.sessions(b.gun)), "sessions.yml")
	if err != nil {
		b.t.Fatalf("%v, in\n%s", err, b.scenario.sessions(b.gun))
	}
	return cfg
}

// startExporter starts the program as main does, on the bench's wires.
func (b *bench) startExporter(address string) {
	cfg := b.config()
	var current atomic.Pointer[collector.Roster]
	metrics := collector.NewExporter(func() *collector.Sessions { return current.Load().Current() })
	transport := rufus.NewTransport(rufus.TransportOptions{
		TLS: cfg.API.TLS, Proxy: cfg.API.Proxy, MaxConns: cfg.API.MaxConcurrentRequests, Timeout: cfg.API.Timeout,
		Dial: b.wires.dial,
	})
	fetcher := collector.NewFetcher(collector.Options{
		Source: rufus.NewClient(rufus.Options{
			URL: cfg.API.URL, Key: cfg.API.Key, KeyHeader: cfg.API.KeyHeader, UserAgent: "rufus_exporter/truth",
			Timeout: cfg.API.Timeout, Transport: transport, Observe: metrics.Observe,
		}),
		MaxConcurrentRequests: cfg.API.MaxConcurrentRequests,
		MinInterval:           cfg.API.MinInterval,
		DeviceMetrics:         cfg.API.DeviceMetrics,
		Now:                   time.Now,
		Logger:                discard,
	})
	current.Store(fetcher.Roster(cfg.Sessions, cfg.Discovery, nil))

	registry := prometheus.NewRegistry()
	b.reloaded = prometheus.NewGauge(prometheus.GaugeOpts{Name: "rufus_exporter_config_last_reload_successful"})
	b.reloaded.Set(1)
	buildInfo := prometheus.NewGauge(prometheus.GaugeOpts{Name: "rufus_exporter_build_info"})
	buildInfo.Set(1)
	started := prometheus.NewGauge(prometheus.GaugeOpts{Name: "process_start_time_seconds"})
	started.Set(float64(time.Now().UnixMilli()) / 1000)
	registry.MustRegister(metrics, b.reloaded, buildInfo, started)

	stop := b.wires.serve(address, web.NewHandler(web.Options{
		Sessions:      func(ctx context.Context) *collector.Sessions { return current.Load().Sessions(ctx) },
		Exporter:      registry,
		ReloadError:   func() error { return nil },
		TelemetryPath: "/metrics",
		TimeoutOffset: 500 * time.Millisecond,
		MaxRequests:   40,
		Version:       "truth",
		Now:           time.Now,
		Logger:        discard,
	}))
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	b.exporters[address] = &exporterProcess{
		started: time.Now(),
		states: func(now time.Time) map[string]state.State {
			states := make(map[string]state.State)
			sessions := current.Load().Current()
			for i, s := range sessions.States(now) {
				states[sessions.Entries()[i].Name] = s.State
			}
			return states
		},
		reload: func() {
			cfg := b.config()
			current.Store(fetcher.Roster(cfg.Sessions, cfg.Discovery, current.Load()))
		},
		stop: func() {
			stop()
			transport.CloseIdleConnections()
		},
	}
}

func (b *bench) stopExporter(address string) {
	b.seen.mu.Lock()
	e := b.exporters[address]
	delete(b.exporters, address)
	b.seen.mu.Unlock()
	e.stop()
}

// restartExporter leaves it down for so long.
func (b *bench) restartExporter(down time.Duration) {
	b.stopExporter(exporterAddress)
	time.Sleep(down)
	b.startExporter(exporterAddress)
}

// reload replaces the entries of sessions.yml.
func (b *bench) reload(mats []mat) {
	b.seen.mu.Lock()
	b.scenario.mats = mats
	b.seen.mu.Unlock()
	for _, e := range b.exporters {
		e.reload()
	}
}

// prometheusConfig is what the README tells users to configure, with rules evaluated as often.
func (s scenario) prometheusConfig() string {
	common := fmt.Sprintf("    scrape_interval: %s\n    scrape_timeout: 10s\n", s.interval())
	text := "global:\n  evaluation_interval: 15s\nscrape_configs:\n"
	if s.probe { // docs/prometheus.md, without service discovery
		text += "  - job_name: rufus\n" + common + `    metrics_path: /probe
    relabel_configs:
      - source_labels: [__address__]
        target_label: __param_target
      - source_labels: [__address__]
        target_label: instance
      - target_label: __address__
        replacement: ` + exporterAddress + `
  - job_name: rufus-exporter
    params:
      collect[]: [exporter]
` + common
	} else {
		text += "  - job_name: rufus\n" + common
	}
	for _, line := range s.scrape {
		text += "    " + line + "\n"
	}
	if s.second {
		text += "  - job_name: rufus-2\n" + common
	}
	if s.itself {
		text += "  - job_name: prometheus\n  - job_name: alertmanager\n"
	}
	return text
}

// interval returns how often it scrapes.
func (s scenario) interval() time.Duration { return cmp.Or(s.every, 15*second) }

// targets returns what is scraped, by job: the exporters at these addresses.
func (s scenario) targets(addresses ...string) map[string][]*targetgroup.Group {
	group := func(labels model.LabelSet, addresses ...string) []*targetgroup.Group {
		g := &targetgroup.Group{Source: "0", Labels: labels}
		for _, a := range addresses {
			g.Targets = append(g.Targets, model.LabelSet{model.AddressLabel: model.LabelValue(a)})
		}
		return []*targetgroup.Group{g}
	}
	targets := map[string][]*targetgroup.Group{}
	if s.probe {
		var names []string
		for _, m := range s.mats {
			names = append(names, m.name)
		}
		targets["rufus"] = group(s.target, names...)
		targets["rufus-exporter"] = group(nil, addresses...)
	} else {
		targets["rufus"] = group(s.target, addresses...)
	}
	if s.second {
		targets["rufus-2"] = group(nil, otherAddress)
	}
	if s.itself {
		targets["prometheus"] = group(nil, prometheusAddress)
		targets["alertmanager"] = group(nil, alertmanagerAddress)
	}
	return targets
}

// promServer is Prometheus without its HTTP server. Its storage outlives a restart.
type promServer struct {
	b      *bench
	db     *tsdb.DB
	engine *promql.Engine
	rules  string      // path of the rule file
	blind  atomic.Bool // what it scrapes is lost

	runs    atomic.Bool
	targets chan map[string][]*targetgroup.Group // to be scraped from now on
	last    map[string][]*targetgroup.Group      // the last of them
	stop    func()
}

func newPromServer(b *bench, ruleFile string) *promServer {
	options := tsdb.DefaultOptions()
	options.WALSegmentSize = -1                                      // nobody pulls the plug
	options.MinBlockDuration = (24 * time.Hour).Milliseconds()       // a day stays in memory
	options.MaxBlockDuration = options.MinBlockDuration              //
	options.NoLockfile, options.EnableExemplarStorage = true, false  //
	options.RetentionDuration = (15 * 24 * time.Hour).Milliseconds() // the default of Prometheus
	db, err := tsdb.Open(b.t.TempDir(), discard, nil, options, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return &promServer{
		b: b, db: db, rules: ruleFile,
		engine: promql.NewEngine(promql.EngineOpts{
			Logger: discard, MaxSamples: 50_000_000, Timeout: 2 * time.Minute,
			EnableAtModifier: true, EnableNegativeOffset: true, // the defaults of Prometheus
		}),
	}
}

// AppenderV2 is the storage for what is scraped.
func (s *promServer) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return appender{s.db.AppenderV2(ctx), s}
}

type appender struct {
	storage.AppenderV2

	server *promServer
}

func (a appender) Commit() error {
	if a.server.blind.Load() {
		return a.Rollback()
	}
	return a.AppenderV2.Commit()
}

// start begins to scrape and to evaluate.
func (s *promServer) start() {
	t := s.b.t
	cfg, err := promconfig.Load(s.b.scenario.prometheusConfig(), discard)
	if err != nil {
		t.Fatal(err)
	}

	options := &promscrape.Options{
		HTTPClientOptions: []configutil.HTTPClientOption{configutil.WithDialContextFunc(s.b.wires.dial)},
	}
	// The machine's name decides when in an interval it scrapes. Looking it up does not work in a bubble, which is why
	// Prometheus' own tests set it like this, and would give each machine another result. So does each day.
	fqdn := reflect.ValueOf(options).Elem().FieldByName("fqdn")
	reflect.NewAt(fqdn.Type(), unsafe.Pointer(fqdn.UnsafeAddr())).Elem().SetString("prometheus of " + s.b.t.Name())
	scraping, err := promscrape.NewManager(options, discard, nil, nil, s, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := scraping.ApplyConfig(cfg); err != nil {
		t.Fatal(err)
	}
	s.targets = make(chan map[string][]*targetgroup.Group, 1)
	if s.last == nil {
		s.last = s.b.scenario.targets(exporterAddress)
	}
	s.targets <- s.last

	ctx, cancel := context.WithCancel(context.Background())
	registry := prometheus.NewRegistry()
	unserve := s.b.wires.serve(prometheusAddress, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	evaluating := rules.NewManager(&rules.ManagerOptions{
		Context:         ctx,
		QueryFunc:       rules.EngineQueryFunc(s.engine, s.db),
		NotifyFunc:      rules.SendAlerts(s.b.alertmanager, "http://prometheus"),
		AppendableV2:    s.db,
		Queryable:       s.db,
		ExternalURL:     &url.URL{Scheme: "http", Host: "prometheus"},
		OutageTolerance: time.Hour, // these three are the defaults of Prometheus
		ForGracePeriod:  10 * time.Minute,
		ResendDelay:     time.Minute,
		Logger:          discard,
		Registerer:      registry,
		Parser:          parser.NewParser(parser.Options{}),
	})
	err = evaluating.Update(time.Duration(cfg.GlobalConfig.EvaluationInterval), []string{s.rules},
		labels.EmptyLabels(), "http://prometheus", s.b.evaluate)
	if err != nil {
		t.Fatalf("%s cannot be loaded: %v", s.rules, err)
	}

	var running sync.WaitGroup
	running.Go(func() { _ = scraping.Run(s.targets) })
	running.Go(evaluating.Run)
	s.runs.Store(true)
	s.stop = func() {
		s.runs.Store(false)
		scraping.Stop()
		evaluating.Stop()
		cancel()
		running.Wait()
		unserve()
	}
}

// scrape changes what is scraped.
func (s *promServer) scrape(targets map[string][]*targetgroup.Group) {
	s.last = targets
	s.targets <- targets
}

// restart leaves it down for so long.
func (s *promServer) restart(down time.Duration) {
	s.stop()
	time.Sleep(down)
	s.start()
}

// lose scrapes for so long, while rules are evaluated on.
func (s *promServer) lose(scrapes time.Duration) {
	s.blind.Store(true)
	time.Sleep(scrapes)
	s.blind.Store(false)
}

// alertmanager is Alertmanager without its HTTP server and without silences.
type alertmanager struct {
	b         *bench
	alerts    *mem.Alerts
	inhibitor *inhibit.Inhibitor
	stop      func()
}

func startAlertmanager(b *bench, configFile string) *alertmanager {
	cfg, err := amconfig.LoadFile(configFile)
	if err != nil {
		b.t.Fatal(err)
	}
	recorder, registry := eventrecorder.NopRecorder(), prometheus.NewRegistry()
	silences, err := silence.New(silence.Options{Logger: discard, Metrics: registry, EventRecorder: recorder})
	if err != nil {
		b.t.Fatal(err)
	}
	silencer := silence.NewSilencer(silences, discard, recorder)
	sent, err := nflog.New(nflog.Options{Retention: 120 * time.Hour, Logger: discard, Metrics: registry})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &alertmanager{b: b}
	unserve := b.wires.serve(alertmanagerAddress, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	m.alerts, err = mem.NewAlerts(ctx, 30*time.Minute, 0, silencer, discard, recorder, registry, featurecontrol.NoopFlags{})
	if err != nil {
		b.t.Fatal(err)
	}
	m.inhibitor = inhibit.NewInhibitor(m.alerts, cfg.InhibitRules, discard, recorder)

	receivers := make(map[string][]notify.Integration)
	for _, r := range cfg.Receivers {
		phone := phone{b: b, receiver: r.Name}
		receivers[r.Name] = []notify.Integration{notify.NewIntegration(phone, phone, "phone", 0, r.Name)}
	}
	groups := marker.NewGroupMarker()
	alone := func() time.Duration { return 0 } // in its cluster
	pipeline := notify.NewPipelineBuilder(registry, featurecontrol.NoopFlags{}, recorder).New(
		receivers, alone, m.inhibitor, silencer, timeinterval.NewIntervener(nil), groups, sent, nil)
	dispatcher := dispatch.NewDispatcher(m.alerts, dispatch.NewRoute(cfg.Route, nil), pipeline, groups,
		func(d time.Duration) time.Duration { return max(d, notify.MinTimeout) },
		30*time.Second, nil, discard, recorder, nil, nil)

	var running sync.WaitGroup
	running.Go(m.inhibitor.Run)
	m.inhibitor.WaitForLoading()
	running.Go(func() { dispatcher.Run(time.Now()) })
	dispatcher.WaitForLoading()
	m.stop = func() {
		dispatcher.Stop()
		m.inhibitor.Stop()
		m.alerts.Close()
		cancel()
		running.Wait()
		unserve()
	}
	return m
}

// Send implements rules.Sender as Alertmanager's HTTP API does.
func (m *alertmanager) Send(alerts ...*notifier.Alert) {
	put := make([]*amalert.Alert, len(alerts))
	for i, a := range alerts {
		put[i] = &amalert.Alert{
			Alert: model.Alert{
				Labels: labelSet(a.Labels), Annotations: labelSet(a.Annotations),
				StartsAt: a.StartsAt, EndsAt: a.EndsAt, GeneratorURL: a.GeneratorURL,
			},
			UpdatedAt: time.Now(),
		}
	}
	if err := m.alerts.Put(context.Background(), put...); err != nil {
		m.b.t.Error(err)
	}
}

// inhibits reports whether nobody is to be told of an alert.
func (m *alertmanager) inhibits(of labels.Labels) bool {
	return m.inhibitor.Mutes(context.Background(), labelSet(of))
}

func labelSet(of labels.Labels) model.LabelSet {
	set := make(model.LabelSet, of.Len())
	of.Range(func(l labels.Label) { set[model.LabelName(l.Name)] = model.LabelValue(l.Value) })
	return set
}

// phone is what a receiver's notifications end in.
type phone struct {
	b        *bench
	receiver string
}

// Notify implements notify.Notifier.
func (p phone) Notify(ctx context.Context, alerts ...*amalert.Alert) (retry bool, err error) {
	group, ok := notify.GroupKey(ctx)
	if !ok {
		return false, errors.New("a notification without a group")
	}
	if p.b.deaf.Load() {
		return false, errors.New("nobody answers")
	}
	r := ring{at: p.b.at(time.Now()), receiver: p.receiver, group: group}
	for _, a := range alerts {
		if a.Resolved() {
			r.resolved = append(r.resolved, a.Fingerprint())
		} else {
			r.firing = append(r.firing, a.Fingerprint())
		}
	}
	p.b.seen.mu.Lock()
	defer p.b.seen.mu.Unlock()
	if !p.b.seen.over {
		p.b.seen.rings = append(p.b.seen.rings, r)
	}
	return false, nil
}

// SendResolved implements notify.ResolvedSender.
func (phone) SendResolved() bool { return true }

// seen is what came of a race day, in times after the gun.
type seen struct {
	mu       sync.Mutex // guards what Notify writes, and the rest until the day is over
	episodes []*episode // in the order in which they fired
	rings    []ring
	moments  []moment
	facts    map[string][]fact // by the name of the mat, one a tick
	problems []string          // rules that could not be evaluated, texts that are wrong

	open map[string]*episode // those of episodes that go on
	over bool                // what happens while the parts are stopped is no part of the day
}

// episode is one time that an alert fired.
type episode struct {
	labels      map[string]string
	text        map[string]string // its annotations
	fingerprint model.Fingerprint
	fired       time.Duration
	resolved    time.Duration // never, if it was still firing in the end
	inhibited   bool          // when it fired, or later
}

func (e *episode) name() string     { return e.labels["alertname"] }
func (e *episode) critical() bool   { return e.labels["severity"] == "critical" }
func (e *episode) identity() string { return fmt.Sprint(e.labels) }

func (e *episode) String() string {
	return fmt.Sprintf("%s %s of %s from %s to %s", e.labels["severity"], e.name(),
		cmp.Or(e.labels["session"], e.labels["race"], "all"), short(e.fired), short(e.resolved))
}

// ring is one notification.
type ring struct {
	at               time.Duration
	receiver, group  string
	firing, resolved []model.Fingerprint
}

// moment is what fires after an evaluation.
type moment struct {
	at     time.Duration
	firing []firing
	page   map[string]state.State // of the mats, by name; nil while the exporter is down
	since  time.Duration          // the exporter started
	mats   map[string]tile        // of the dashboard, by the name of the mat
	top    tile                   // of the dashboard, the large one
}

type firing struct {
	*episode

	muted bool
}

// never is later than everything.
const never = time.Duration(1<<63 - 1)

// evaluate evaluates a group of rules and notes what became of its alerts.
func (b *bench) evaluate(ctx context.Context, group *rules.Group, at time.Time) {
	b.evaluating <- struct{}{} // one group at a time, for only one goroutine may wait for the others
	defer func() { <-b.evaluating }()
	if b.stalled.Load() {
		time.Sleep(40 * second)
	}
	rules.DefaultEvalIterationFunc(ctx, group, at)
	synctest.Wait() // until Alertmanager knows
	now := moment{at: b.at(at)}
	var err error
	if group.Name() == mainGroup {
		now.mats, now.top, err = b.dashboard.shown(ctx, b.server, at)
	}
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	if b.seen.over {
		return
	}
	if err != nil {
		b.seen.problem("dashboard: %v", err)
	}
	for _, rule := range group.Rules() {
		if err := rule.LastError(); err != nil {
			b.seen.problem("%s: %v", rule.Name(), err)
		}
	}
	firings := make(map[string]bool)
	for _, rule := range group.AlertingRules() {
		for _, a := range rule.ActiveAlerts() {
			if a.State != rules.StateFiring {
				continue
			}
			key := group.Name() + a.Labels.String()
			firings[key] = true
			muted := b.alertmanager.inhibits(a.Labels)
			e := b.seen.open[key]
			if e == nil {
				set := labelSet(a.Labels)
				e = &episode{
					labels: a.Labels.Map(), text: a.Annotations.Map(), fingerprint: set.Fingerprint(),
					fired: b.at(at), resolved: never,
				}
				b.seen.open[key] = e
				b.seen.episodes = append(b.seen.episodes, e)
			}
			e.inhibited = e.inhibited || muted
			b.seen.proofread(e, a.Annotations.Map())
			now.firing = append(now.firing, firing{e, muted})
		}
	}
	for key, e := range b.seen.open {
		if strings.HasPrefix(key, group.Name()+"{") && !firings[key] {
			e.resolved = b.at(at)
			delete(b.seen.open, key)
		}
	}
	if group.Name() == mainGroup {
		if e := b.exporters[exporterAddress]; e != nil {
			now.page, now.since = e.states(at), b.at(e.started)
		}
		b.seen.moments = append(b.seen.moments, now)
	}
}

// mainGroup is the group of the rules about races.
const mainGroup = "rufus"

// problem notes what is wrong once.
func (s *seen) problem(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(s.problems, text) {
		s.problems = append(s.problems, text)
	}
}

// actions are the words with which a description may begin.
var actions = []string{
	"Go to", "Look ", "Check ", "Compare ", "Start ", "Send ", "Ask ", "Bring ", "Set ", "Fix ", "Read ", "Raise ", "Do ",
}

// proofread looks for what a tired person must not read, or miss.
func (s *seen) proofread(e *episode, texts map[string]string) {
	for name, text := range texts {
		if strings.Contains(text, "error expanding template") || strings.Contains(text, "<no value>") ||
			strings.Contains(text, "  ") || strings.TrimSpace(text) != text || text == "" {
			s.problem("%s: the %s is %q", e.name(), name, text)
		}
	}
	summary, description := texts["summary"], texts["description"]
	first := description
	if i := strings.IndexAny(description, ".?"); i >= 0 {
		first = description[:i+1]
	}
	if len(summary) > 80 || len(first) > 120 {
		s.problem("%s: too long for a phone: %q, %q", e.name(), e.text["summary"], first)
	}
	if !slices.ContainsFunc(actions, func(a string) bool { return strings.HasPrefix(description, a) }) {
		s.problem("%s: the description does not begin with what to do: %q", e.name(), description)
	}
	if name := e.labels["session"]; !strings.Contains(description, name) {
		s.problem("%s: the description does not name %s: %q", e.name(), name, description)
	}
	if texts["runbook_url"] == "" || e.labels["severity"] == "" {
		s.problem("%s has no runbook_url or no severity", e.name())
	}
}

// pack is the files under test.
type pack struct{ rules, alertmanager, dashboard string }

// play plays a scenario in a bubble, in which monitoring begins at once, and returns what was seen.
func (s scenario) play(t *testing.T, files pack) *seen {
	t.Helper()
	if _, errs := rulefmt.ParseFile(files.rules, false, model.UTF8Validation, parser.NewParser(parser.Options{}), discard); errs != nil {
		t.Fatal(errs)
	}
	result := &seen{open: make(map[string]*episode), facts: make(map[string][]fact)}
	synctest.Test(t, func(t *testing.T) {
		if !s.date.IsZero() {
			time.Sleep(time.Until(s.date.Add(s.from)))
		}
		gun := time.Now().Add(-s.from)
		b := &bench{
			t: t, gun: gun, wires: &wires{hosts: make(map[string]chan net.Conn)}, scenario: s, mats: s.everyMat(),
			evaluating: make(chan struct{}, 1), seen: result, exporters: make(map[string]*exporterProcess),
			dashboard: readTiles(t, files.dashboard),
		}
		defer time.Sleep(time.Minute) // in which everything ends that was under way
		races := cityRun
		if s.races != nil {
			races = s.races
		}
		day := simulator.NewDay(races(gun)...)
		for i := range day.Devices {
			day.Devices[i].Latency = 80 * time.Millisecond
		}
		if s.day != nil {
			s.day(&day, gun.Add)
		}
		b.api = simulator.New(day)
		b.refused.Store("")
		defer b.wires.serve(apiAddress, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == b.refused.Load() {
				http.Error(w, "", http.StatusForbidden)
				return
			}
			b.api.ServeHTTP(w, r)
		}))()

		b.startExporter(exporterAddress)
		defer func() {
			for address := range b.exporters {
				b.stopExporter(address)
			}
		}()
		b.alertmanager = startAlertmanager(b, files.alertmanager)
		defer b.alertmanager.stop()
		b.server = newPromServer(b, files.rules)
		defer func() {
			if err := b.server.db.Close(); err != nil {
				t.Error(err)
			}
		}()
		b.server.start()
		defer func() { b.server.stop() }()
		watching := make(chan struct{})
		go b.watch(watching)
		defer func() { <-watching }()

		for _, a := range s.accidents {
			time.Sleep(time.Until(gun.Add(a.at)))
			a.happens(b)
		}
		time.Sleep(time.Until(gun.Add(s.to)))
		result.mu.Lock()
		result.over = true
		result.mu.Unlock()
	})
	return result
}
