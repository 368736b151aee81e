package web

import (
	"bytes"
	_ "embed" // the runbook's template
	"html/template"
	"net/http"
	"regexp"
	"strings"
)

// runbookPath is where the runbook is served: the crew at the track may have no other way to it than to the exporter.
const runbookPath = "/runbook"

//go:embed runbook.html
var runbookHTML string

// section is one heading of the runbook and what follows it. The first has no ID: it is the title's.
type section struct {
	ID, Title string
	Blocks    []block
}

// block is a paragraph, a list or a listing.
type block struct {
	Spans []textSpan
	Items [][]textSpan
	Pre   string
}

// textSpan is a piece of text of one kind.
type textSpan struct {
	Text, Href   string
	Strong, Code bool
}

// runbookPage serves the runbook.
func (h *handler) runbookPage() http.HandlerFunc {
	page := newRunbook(h.Runbook)
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", pagePolicy)
		limitWrite(w)
		_, _ = w.Write(page)
	}
}

// newRunbook returns the page of a runbook in Markdown.
func newRunbook(markdown string) []byte {
	var page bytes.Buffer
	t := template.Must(template.New("runbook").Parse(runbookHTML))
	err := t.Execute(&page, struct {
		Style    template.CSS
		Sections []section
	}{template.CSS(pageCSS), sections(markdown)}) //nolint:gosec // embedded
	if err != nil {
		panic(err) // a template that is compiled in, and texts
	}
	return page.Bytes()
}

// sections reads as much of Markdown as the runbook uses: headings, paragraphs, lists, and listings
// without empty lines.
func sections(markdown string) []section {
	var all []section
	for chunk := range strings.SplitSeq(strings.TrimSpace(markdown), "\n\n") {
		chunk = strings.TrimSpace(chunk)
		title, heading := strings.CutPrefix(chunk, "# ")
		if name, second := strings.CutPrefix(chunk, "## "); second {
			all = append(all, section{ID: strings.ToLower(strings.ReplaceAll(name, " ", "-")), Title: name})
			continue
		}
		if heading || len(all) == 0 {
			all = append(all, section{Title: title})
			if heading {
				continue
			}
		}
		last := &all[len(all)-1]
		last.Blocks = append(last.Blocks, readBlock(chunk))
	}
	return all
}

func readBlock(chunk string) block {
	if listing, ok := strings.CutPrefix(chunk, "```"); ok {
		_, listing, _ = strings.Cut(listing, "\n") // the language
		return block{Pre: strings.TrimSuffix(listing, "```")}
	}
	items, ok := strings.CutPrefix(chunk, "- ")
	if !ok {
		return block{Spans: spans(chunk)}
	}
	var b block
	for item := range strings.SplitSeq(items, "\n- ") {
		b.Items = append(b.Items, spans(item))
	}
	return b
}

// spanPattern finds **strong** text, `code` and [links](target).
var spanPattern = regexp.MustCompile("\\*\\*(.+?)\\*\\*|`([^`]+)`|\\[([^\\]]+)\\]\\(([^)]+)\\)")

// spans splits a text by kind. Links to other files lead nowhere here and become text.
func spans(text string) []textSpan {
	text = strings.Join(strings.Fields(text), " ")
	var all []textSpan
	plain := func(s string) {
		if s != "" {
			all = append(all, textSpan{Text: s})
		}
	}
	end := 0
	for _, at := range spanPattern.FindAllStringSubmatchIndex(text, -1) {
		plain(text[end:at[0]])
		end = at[1]
		part := func(n int) string { return text[at[2*n]:at[2*n+1]] }
		switch {
		case at[2] >= 0:
			all = append(all, textSpan{Text: part(1), Strong: true})
		case at[4] >= 0:
			all = append(all, textSpan{Text: part(2), Code: true})
		case strings.HasPrefix(part(4), "#"):
			all = append(all, textSpan{Text: part(3), Href: part(4)})
		default:
			plain(part(3))
		}
	}
	plain(text[end:])
	return all
}
