package web

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rufus_exporter/entry"
	"rufus_exporter/monitoring"
	"rufus_exporter/rufus"
)

// What the runbook's Markdown becomes.
func TestRunbookPage(t *testing.T) {
	page := string(newRunbook("# Runbook\n\nFirst\nline, <b> & **strong `x`**.\n\n- one `code`\n- two\n  goes on, see [A](#rufus-a)\n\n" +
		"## Rufus A\n\n```yaml\na: <1>\n# no heading\n```\n\nAfter [a file](rules.yml).\n"))
	_, body, _ := strings.Cut(page, "<main>")
	body, _, _ = strings.Cut(body, "</main>")
	equal(t, "body", strings.Join(strings.Fields(body), " "), "<section> <h1>Runbook</h1> "+
		"<p>First line, &lt;b&gt; &amp; <strong>strong `x`</strong>.</p> "+
		`<ul> <li>one <code>code</code></li> <li>two goes on, see <a href="#rufus-a">A</a></li> </ul> </section> `+
		`<section id="rufus-a"> <h2>Rufus A</h2> <pre>a: &lt;1&gt; # no heading </pre> <p>After a file.</p> </section>`)
}

// Each link of the status page leads to a section of the runbook, here or elsewhere.
func TestRunbookLinks(t *testing.T) {
	source, err := os.ReadFile("mat.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("page.go")
	if err != nil {
		t.Fatal(err)
	}
	sources := string(source) + string(page)
	s := newStand(&api{}, nil, func(s *settings) { s.Runbook = monitoring.Runbook })
	response := s.record("/runbook")
	equal(t, "status", response.Code, http.StatusOK)
	equal(t, "content type", response.Header().Get("Content-Type"), "text/html; charset=utf-8")
	contains(t, "policy", response.Header().Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-")
	var ids []string
	for _, id := range regexp.MustCompile(`<section id="([a-z]+)">`).FindAllStringSubmatch(response.Body.String(), -1) {
		ids = append(ids, id[1])
	}
	linked := regexp.MustCompile(`"#(rufus[a-z]+)"`).FindAllStringSubmatch(sources, -1)
	equal(t, "links", len(linked), 6)
	for _, link := range linked {
		if !slices.Contains(ids, link[1]) {
			t.Errorf("the runbook has no section %s", link[1])
		}
	}

	elsewhere := newStand(&api{answers: func(string) (rufus.Session, error) {
		return rufus.Session{}, &rufus.Error{Reason: rufus.NotFound}
	}}, []entry.Entry{follow(rufus.Token, "x")}, func(s *settings) { s.RunbookURL = "https://wiki.example.org/rufus?a=b" })
	contains(t, "page", elsewhere.record("/").Body.String(),
		`<a href="https://wiki.example.org/rufus?a=b#rufussessionfailing">`, `<a href="https://wiki.example.org/rufus?a=b">runbook`)
}
