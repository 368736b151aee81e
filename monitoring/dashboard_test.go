package monitoring_test

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// dashboard is what these tests look at of dashboard.json. That its queries are right is tested in e2e.
type dashboard struct {
	Panels []struct {
		Title       string
		FieldConfig struct {
			Defaults struct{ Mappings []mapping }
		}
	}
}

type mapping struct {
	Options json.RawMessage
}

// shown is what stands in a table instead of a value.
type shown struct{ Text, Color string }

// alertTexts returns what the panel of alerts shows instead of an alert's name or severity.
func alertTexts(t *testing.T) map[string]shown {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		if p.Title != "Alerts" || len(p.FieldConfig.Defaults.Mappings) != 1 {
			continue
		}
		var texts map[string]shown
		if err := json.Unmarshal(p.FieldConfig.Defaults.Mappings[0].Options, &texts); err != nil {
			t.Fatal(err)
		}
		return texts
	}
	t.Fatal("there is no panel of alerts with one list of texts")
	return nil
}

// Prometheus keeps no texts of alerts, so the dashboard has its own. They are the words of the rules: the summary, then
// what to do, from the description.
func TestDashboardSaysWhatAlertsSay(t *testing.T) {
	texts := alertTexts(t)
	race := regexp.MustCompile(`^{{[^}]*}}: `)
	plain := strings.NewReplacer(
		"{{ $labels.session }}", "the mat",
		"{{ $labels.instance }}", "Prometheus or Alertmanager",
	)
	known := []string{"critical", "warning"}
	for _, a := range alerts(t) {
		if a.Alert == watchdog {
			continue
		}
		known = append(known, a.Alert)
		shown := texts[a.Alert].Text
		summary := race.ReplaceAllString(a.Annotations["summary"], "")
		if len(shown) < len(summary) || !strings.EqualFold(shown[:len(summary)], summary) {
			t.Errorf("%s: %q does not begin with the summary %q", a.Alert, shown, summary)
			continue
		}
		action := strings.ToLower(strings.TrimRight(strings.TrimSpace(shown[len(summary):]), "."))
		description := strings.ToLower(plain.Replace(a.Annotations["description"]))
		if action == "" || !strings.Contains(description, action) {
			t.Errorf("%s: what to do, %q, is not in the description: %q", a.Alert, action, description)
		}
		if len(shown) > 150 {
			t.Errorf("%s: too long for a line: %q", a.Alert, shown)
		}
	}
	for name := range texts {
		if !slices.Contains(known, name) {
			t.Errorf("there is no %s", name)
		}
	}
}

// White text on the colours of states can be read, as on the status page.
func TestDashboardContrast(t *testing.T) {
	colours := regexp.MustCompile(`"#[0-9a-f]{6}"`).FindAllString(read(t, "dashboard.json"), -1)
	slices.Sort(colours)
	colours = slices.Compact(colours)
	if len(colours) != 5 {
		t.Errorf("the colours are %q, not one each for critical, warning, ok, waiting and finished", colours)
	}
	for _, c := range colours {
		if ratio := 1.05 / (luminance(t, strings.Trim(c, `"#`)) + 0.05); ratio < 4.5 {
			t.Errorf("%s: the contrast of white is %.2f", c, ratio)
		}
	}
}

// luminance returns the relative luminance, from 0 to 1, that WCAG defines for a colour in hexadecimal sRGB.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	rgb, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i, weight := range []float64{0.0722, 0.7152, 0.2126} { // blue, green, red
		c := float64(rgb>>(8*i)&0xff) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
