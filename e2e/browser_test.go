package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image/png"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"rufus_exporter/simulator"
	"rufus_exporter/state"
)

var writeScreenshots = flag.Bool("screenshots", false, "write the pictures of the status page into docs")

// inStory is how far into the demo its status page is looked at: a mat was closed by mistake, and at the turn of the
// 10K START was pressed again a moment ago.
const inStory = 170 * time.Second

// inStoryStates are the states of the demo's sessions then.
var inStoryStates = map[string]string{
	"start-5k":         "waiting", // for the next lap
	"split-3k":         "closed",
	"turn-5k":          "waiting",
	"finish-5k":        "ok",
	"finish-5k-backup": "silent",
	"start-10k":        "waiting",
	"turn-10k":         "ok", // with a low battery
	"turn-10k-token":   "closed",
	"split-7k":         "ok",
	"finish-10k":       "waiting",
	"kids-run":         "finished",
	"start-half":       "waiting",
	"mistyped":         "failing",
}

// view is how a page is looked at.
type view struct {
	name          string
	width, height int64
	phone         bool
	dark          bool
	noScript      bool
}

// One browser shows all there is to see.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chromium := startBrowser(t)
	t.Run("inspection", func(t *testing.T) { testInspection(t, chromium) })
	t.Run("status page", func(t *testing.T) { testStatusPage(t, chromium) })
	t.Run("screenshots", func(t *testing.T) { testScreenshots(t, chromium) })
}

// The status page is there, readable and whole for whoever looks at it, and asks nobody else for anything.
func testStatusPage(t *testing.T, chromium *browser) {
	t.Helper()
	now := time.Now()
	states := maps.Clone(inStoryStates)
	day := simulator.Demo(now.Add(-inStory), simulator.DemoSpeed)
	sessions := strings.Builder{}
	// Whatever fits no line, and what must not be taken for HTML.
	for i, alias := range []string{
		strings.Repeat("W", 10000),
		`<script>document.title = "!"</script><img src=//192.0.2.1/x onerror=alert(1)><b style="color:red">`,
		"\u202egnp.\u202d right to left",
		strings.Repeat("long words ", 50),
	} {
		id := fmt.Sprint("hostile ", i)
		day.Devices = append(day.Devices, simulator.Device{
			ID: simulator.ID("device " + id), Alias: id,
			Sessions: []simulator.Session{{Token: simulator.ID(id), Alias: alias, Created: now.Add(-time.Hour)}},
		})
		name := fmt.Sprint(i, strings.Repeat("W", 99))
		states[name] = "ok"
		fmt.Fprintf(&sessions, "  - token: %s\n    name: %s\n    labels: {place: %s}\n",
			simulator.ID(id), name, strings.Repeat("M", 200))
	}
	failing := strings.Repeat("X", 100)
	states[failing] = "failing"
	fmt.Fprintf(&sessions, "  - token: %s\n    name: %s\n", simulator.ID(failing), failing)

	api := simulate(t, day, now)
	api.Sleep = func(context.Context, time.Duration) error { return nil }
	e := startExporter(t, string(simulator.DemoConfig(api.URL, now.Add(-inStory), simulator.DemoSpeed))+sessions.String())

	backgrounds := map[bool]string{}
	for _, v := range []view{
		{name: "phone", width: 390, height: 844, phone: true},
		{name: "phone at night without JavaScript", width: 390, height: 844, phone: true, dark: true, noScript: true},
		{name: "smallest phone", width: 320, height: 568, phone: true},
		{name: "desk at night", width: 1280, height: 800, dark: true},
		{name: "desk without JavaScript", width: 1280, height: 800, noScript: true},
	} {
		t.Run(v.name, func(t *testing.T) {
			tab := chromium.open(t, v)
			tab.do(chromedp.Navigate(e.URL + "/"))
			found := tab.inspect()
			for _, fault := range slices.Concat(found.faults(v), tab.faults(e.URL)) {
				t.Error(fault)
			}
			worst := found.Worst
			if worst.Name != "split-3k" || worst.State != "closed" || !strings.Contains(worst.Do, "press START") {
				t.Errorf("the page begins with %+v", worst)
			}
			if !strings.HasPrefix(found.Headline, "1 mat needs you: split-3k closed; ") {
				t.Errorf("the headline is %q", found.Headline)
			}
			if v.width >= 390 && worst.Bottom > float64(v.height) {
				t.Errorf("what to do about %s ends at %v, below the first screen of %d pixels", worst.Name, worst.Bottom, v.height)
			}
			got := map[string]string{}
			for _, row := range found.Rows {
				got[row.Name] = row.State
				if !row.Visible {
					t.Errorf("%q cannot be seen", row.Name)
				}
			}
			compare(t, "state", states, got)
			if other, ok := backgrounds[!v.dark]; ok && other == found.Background {
				t.Errorf("dark and light are both %s", other)
			}
			backgrounds[v.dark] = found.Background
		})
	}

	t.Run("colours", func(t *testing.T) { testColours(t, chromium, e.URL) })

	t.Run("refreshes", func(t *testing.T) {
		tab := chromium.open(t, view{width: 390, height: 844, phone: true, noScript: true})
		loads := chromedp.Events(tab.ctx, page.LoadEventFired)
		tab.do(chromedp.Navigate(e.URL + "/"))
		before := tab.inspect().passings("finish-5k")
		api.clock.set(now.Add(time.Minute))
		after := before
		for _, err := range loads {
			if err != nil { // patience ran out
				t.Fatal(err)
			}
			if after = tab.inspect().passings("finish-5k"); after != before {
				break
			}
		}
		if after == before {
			t.Errorf("still %s passings", before)
		}
	})
}

// Every colour of the headline and of the states is readable, by day and by night: texts with too little contrast are
// found by inspect. The page is a real one, with all classes that there are.
func testColours(t *testing.T, chromium *browser, url string) {
	t.Helper()
	_, body := fetch(t, &http.Client{}, url+"/")
	mats := regexp.MustCompile(`(?s)<li class="mat [a-z -]+">(.*?)</li>`).FindAllStringSubmatch(body, -1)
	low := slices.IndexFunc(mats, func(m []string) bool { return strings.Contains(m[1], `<p class="battery">`) })
	if low < 0 {
		t.Fatal("no mat has a battery to show")
	}
	var all strings.Builder
	for _, word := range state.Words() {
		for _, severity := range []string{"calm", "warning", "critical"} {
			fmt.Fprintf(&all, `<li class="mat %s %s">%s</li>`, strings.ReplaceAll(string(word), " ", "-"), severity, mats[low][1])
		}
	}
	changes := regexp.MustCompile(`(?s)<main>.*</main>`).ReplaceAllLiteralString(body, `<main><ul class="mats">`+all.String()+`</ul></main>`)
	for _, tone := range []string{"bad", "look", "well", "idle"} {
		changed := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, regexp.MustCompile(`<header class="[a-z]+">`).ReplaceAllString(changes, `<header class="`+tone+`">`))
		}))
		for _, dark := range []bool{false, true} {
			v := view{width: 1280, height: 800, dark: dark}
			tab := chromium.open(t, v)
			tab.do(chromedp.Navigate(changed))
			found := tab.inspect()
			for _, fault := range found.faults(v) {
				t.Errorf("%s, dark %t: %s", tone, dark, fault)
			}
			if n := 3 * len(state.Words()); len(found.Rows) != n || found.Contrast < 4.5 || found.Contrast > 21 {
				t.Errorf("%s, dark %t: %d mats, want %d; the least contrast is %v", tone, dark, len(found.Rows), n, found.Contrast)
			}
		}
	}
}

// What is looked for on the status page is found where it is there to be found.
func testInspection(t *testing.T, chromium *browser) {
	t.Helper()
	bad := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "script-src 'none'")
		_, _ = fmt.Fprint(w, `<!DOCTYPE html><body style="background: #fff"><script>1</script>
			<img src="http://localhost:9999/elsewhere.png"> <p style="color: #999">faint</p> <p style="width: 3000px">wide</p>
			<ul><li class="mat"><p class="name">a</p><p class="state">ok</p><p class="count">1</p></li>
			<li class="mat"><p class="name" style="position: absolute">b</p><p class="state" style="position: absolute">closed</p>
			<p class="count" style="visibility: hidden">2</p></li></ul>
			<p style="text-align: right; width: 1500px">outside</p>`)
	}))
	v := view{width: 1280, height: 800}
	tab := chromium.open(t, v)
	tab.do(chromedp.Navigate(bad))
	found := tab.inspect()
	faults := strings.Join(slices.Concat(found.faults(v), tab.faults(bad)), "\n")
	for _, want := range []string{
		"overflows", "out of sight: outside", "faint: faint", "overlap: b closed",
		"http://localhost:9999/elsewhere.png", "Failed to load resource",
		"Content Security Policy", "ContentSecurityPolicyIssue",
	} {
		if !strings.Contains(faults, want) {
			t.Errorf("not found: %s", want)
		}
	}
	for i, want := range []row{
		{Name: "a", State: "ok", Passings: "1", Visible: true},
		{Name: "b", State: "closed", Passings: "2"},
	} {
		if i >= len(found.Rows) || found.Rows[i] != want {
			t.Errorf("rows: %+v, want %+v in place %d", found.Rows, want, i)
		}
	}
	if t.Failed() {
		t.Log(faults)
	}
}

// The pictures in docs show the first screen of the demo. They are made again by
//
//	go test -run TestBrowser/screenshots -screenshots
//
// from a page that is the same whenever it is made: the exporter's own handler and the simulated race at an instant,
// after a scrape every five seconds.
func testScreenshots(t *testing.T, chromium *browser) {
	t.Helper()
	const most = 200 << 10 // bytes
	api := simulate(t, simulator.Demo(raceDay, simulator.DemoSpeed), raceDay)
	api.Sleep = func(context.Context, time.Duration) error { return nil }
	handler := inProcess(t, string(simulator.DemoConfig(api.URL, raceDay, simulator.DemoSpeed)), api.clock.now)
	for after := time.Duration(0); after <= inStory; after += 5 * time.Second {
		api.clock.set(raceDay.Add(after))
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	}
	url := serve(t, handler)
	for path, v := range map[string]view{
		"../docs/status-page.png":       {width: 1280, height: 900},
		"../docs/status-page-phone.png": {width: 390, height: 844, phone: true},
	} {
		tab := chromium.open(t, v)
		tab.do(chromedp.Navigate(url))
		picture, err := chromedp.Run(tab.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if *writeScreenshots {
			if err := os.WriteFile(path, picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		committed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for what, data := range map[string][]byte{"made now": picture, "committed": committed} {
			size, err := png.DecodeConfig(bytes.NewReader(data))
			if err != nil || size.Width != int(v.width) || len(data) > most {
				t.Errorf("%s, %s: %d pixels wide, %d bytes, %v; want %d pixels, at most %d bytes",
					path, what, size.Width, len(data), err, v.width, most)
			}
		}
	}
}

// browser is a Chromium, running.
type browser struct{ ctx context.Context }

// startBrowser runs a Chromium until the test ends.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	options := slices.Concat(chromedp.DefaultExecAllocatorOptions[:], []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(tool(t, "chromium")),
		chromedp.NoSandbox, // which root, in CI, cannot use
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	})
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("chromium did not end well: %v", err)
		}
		cancel()
		cancelAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &browser{ctx}
}

// tab is a window of its own, and what was heard from the page in it.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	said     []string // to the console, by the page or the browser
	requests []string // URLs
}

// open opens an empty tab until the test ends.
func (b *browser) open(t *testing.T, v view) *tab {
	t.Helper()
	fresh, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(fresh); err != nil {
		t.Fatal(err)
	}
	ctx, cancelTimeout := context.WithTimeout(fresh, patience)
	t.Cleanup(cancelTimeout)
	tab := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, tab.hear); err != nil {
		t.Fatal(err)
	}
	size := []chromedp.EmulateViewportOption{chromedp.EmulatePortrait}
	if v.phone {
		size = append(size, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	scheme := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "light"}
	if v.dark {
		scheme.Value = "dark"
	}
	tab.do(
		call(network.Enable, network.EnableParams{}),
		call(audits.Enable, cdp.Empty{}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{scheme}}),
		call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.noScript}),
		chromedp.EmulateViewport(v.width, v.height, size...),
	)
	return tab
}

// call returns a command of the browser's protocol as an action.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, params)
		return err
	})
}

func (tab *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	if err := chromedp.Do(tab.ctx, steps...); err != nil {
		tab.t.Fatal(err)
	}
}

func (tab *tab) hear(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		tab.said = append(tab.said, fmt.Sprintf("console.%s", e.Type))
	case *runtime.EventExceptionThrown:
		tab.said = append(tab.said, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		tab.said = append(tab.said, e.Entry.Text)
	case *audits.EventIssueAdded:
		tab.said = append(tab.said, string(e.Issue.Code))
	case *network.EventRequestWillBeSent:
		tab.requests = append(tab.requests, e.Request.URL)
	}
}

// faults returns what the page, which is at url, should not have said or asked for.
func (tab *tab) faults(url string) []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	faults := slices.Clone(tab.said)
	for _, request := range tab.requests {
		if request != url+"/" && !strings.HasPrefix(request, "data:") {
			faults = append(faults, "asked for "+request)
		}
	}
	return faults
}

// findings are what one sees on a page.
type findings struct {
	Width      int64    // of all there is, in pixels
	Outside    []string // texts beyond the sides of the window
	Faint      []string // texts with less contrast than 4.5, which WCAG 2.2 asks for (AA)
	Overlaps   []string // pairs of texts of a mat that cover each other
	Contrast   float64  // the least that a text has
	Rows       []row
	Background string
	Headline   string
	Worst      worst
}

// worst is the first mat in trouble, and where what to do about it ends, in pixels from the top.
type worst struct {
	Name, State, Do string
	Bottom          float64
}

// row is what the page says about a session.
type row struct {
	Name, State, Passings string
	Visible               bool
}

func (f *findings) faults(v view) []string {
	var faults []string
	if f.Width > v.width {
		faults = append(faults, fmt.Sprintf("overflows: %d pixels in a window of %d", f.Width, v.width))
	}
	for what, texts := range map[string][]string{
		"out of sight": f.Outside, "too faint": f.Faint, "overlap": f.Overlaps,
	} {
		for _, text := range texts {
			faults = append(faults, what+": "+text)
		}
	}
	return faults
}

func (f *findings) passings(session string) string {
	for _, row := range f.Rows {
		if row.Name == session {
			return row.Passings
		}
	}
	return ""
}

// inspect looks at the page in the tab. DevTools may do so by script even where the page may run none.
func (tab *tab) inspect() *findings {
	tab.t.Helper()
	found, err := chromedp.Run(tab.ctx, chromedp.Evaluate[findings](inspection))
	if err != nil {
		tab.t.Fatal(err)
	}
	if len(found.Rows) == 0 {
		tab.t.Fatal("the page has no rows")
	}
	return &found
}

const inspection = `(() => {
	const found = {
		Width: document.scrollingElement.scrollWidth, Outside: [], Faint: [], Overlaps: [], Rows: [],
		Background: getComputedStyle(document.body).backgroundColor, Contrast: 21,
		Headline: document.querySelector('h1')?.textContent ?? '', Worst: {Name: '', State: '', Do: '', Bottom: 0},
	}
	const rects = (node) => {
		const range = document.createRange()
		range.selectNodeContents(node)
		return [...range.getClientRects()].filter((r) => r.width > 0 && r.height > 0)
	}
	const visible = (e) => e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && rects(e).length > 0
	const clipped = (e) => e !== null && (getComputedStyle(e).clipPath !== 'none' || clipped(e.parentElement))
	const numbers = (color) => color.match(/[\d.]+/g).map(Number)
	const luminance = (color) => {
		const [r, g, b] = numbers(color).map((c) => c / 255 <= .04045 ? c / 255 / 12.92 : ((c / 255 + .055) / 1.055) ** 2.4)
		return .2126 * r + .7152 * g + .0722 * b
	}
	const behind = (e) => {
		const color = getComputedStyle(e).backgroundColor
		return numbers(color)[3] === 0 ? behind(e.parentElement) : color
	}

	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
	while (texts.nextNode()) {
		const text = texts.currentNode.textContent.trim(), e = texts.currentNode.parentElement
		if (text === '' || !visible(e) || clipped(e)) continue
		if (rects(texts.currentNode).some((r) => r.left < 0 || r.right > innerWidth + 1)) found.Outside.push(text)
		const [dark, light] = [luminance(getComputedStyle(e).color), luminance(behind(e))].sort((a, b) => a - b)
		const contrast = (light + .05) / (dark + .05)
		if (contrast < 4.5) found.Faint.push(text)
		found.Contrast = Math.min(found.Contrast, contrast)
	}
	const trouble = document.querySelector('.trouble .mat')
	if (trouble !== null) {
		const text = (c) => trouble.querySelector(c).textContent
		found.Worst = {
			Name: trouble.querySelector('.name').firstChild.textContent.trim(), State: text('.state'), Do: text('.do'),
			Bottom: trouble.querySelector('.do').getBoundingClientRect().bottom + scrollY,
		}
	}
	for (const mat of document.querySelectorAll('li.mat')) {
		const cells = [...mat.querySelectorAll('h3, p')]
		cells.forEach((a, i) => cells.slice(i + 1).forEach((b) => {
			const cover = rects(a).some((r) => rects(b).some((s) =>
				r.left + 1 < s.right && s.left + 1 < r.right && r.top + 1 < s.bottom && s.top + 1 < r.bottom))
			if (cover) found.Overlaps.push(a.textContent.trim() + ' ' + b.textContent.trim())
		}))
		const [name, state, count] = ['.name', '.state', '.count'].map((c) => mat.querySelector(c))
		const first = (e) => e.firstChild === null ? '' : e.firstChild.textContent.trim()
		found.Rows.push({
			Name: first(name), State: first(state), Passings: first(count),
			Visible: [name, state, count].every((e) => e.textContent.trim() === '' || visible(e)),
		})
	}
	return found
})()`
