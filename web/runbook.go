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
	Blocks    []template.HTML // paragraphs, lists and listings
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
			continue
		}
		last := &all[len(all)-1]
		last.Blocks = append(last.Blocks, template.HTML(block(chunk))) //nolint:gosec // block escapes what it does not make
	}
	return all
}

// block returns a paragraph, a list or a listing as HTML.
func block(chunk string) string {
	if listing, ok := strings.CutPrefix(chunk, "```"); ok {
		_, listing, _ = strings.Cut(listing, "\n") // the language
		return "<pre>" + template.HTMLEscapeString(strings.TrimSuffix(listing, "```")) + "</pre>"
	}
	items, ok := strings.CutPrefix(chunk, "- ")
	if !ok {
		return "<p>" + spans(chunk) + "</p>"
	}
	var list strings.Builder
	for item := range strings.SplitSeq(items, "\n- ") {
		list.WriteString("<li>" + spans(item) + "</li>\n")
	}
	return "<ul>\n" + list.String() + "</ul>"
}

// spanPattern finds **strong** text, `code` and [links](target).
var spanPattern = regexp.MustCompile("\\*\\*.+?\\*\\*|`[^`]+`|\\[[^\\]]+\\]\\([^)]+\\)")

// spans returns a text as HTML. Links to other files lead nowhere here and become text.
func spans(text string) string {
	text = template.HTMLEscapeString(strings.Join(strings.Fields(text), " "))
	return spanPattern.ReplaceAllStringFunc(text, func(span string) string {
		switch span[0] {
		case '*':
			return "<strong>" + span[2:len(span)-2] + "</strong>"
		case '`':
			return "<code>" + span[1:len(span)-1] + "</code>"
		}
		name, target, _ := strings.Cut(span[1:len(span)-1], "](")
		if !strings.HasPrefix(target, "#") {
			return name
		}
		return `<a href="` + target + `">` + name + "</a>"
	})
}
