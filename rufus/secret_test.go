package rufus_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"text/template"

	"gopkg.in/yaml.v3"

	"rufus_exporter/rufus"
)

// holder has secrets in every place that a struct can have.
type holder struct {
	Exported   rufus.Secret
	Pointer    *rufus.Secret
	List       []rufus.Secret
	Map        map[rufus.Secret]rufus.Secret
	Any        any
	Target     rufus.Target
	unexported rufus.Secret
	pointer    *rufus.Secret
	list       []rufus.Secret
	mapped     map[rufus.Secret]rufus.Secret
	any        any
	target     rufus.Target
	inner      struct{ deep []*rufus.Secret }
}

// hidden returns values that contain token or key somewhere.
func hidden(t *testing.T) map[string]any {
	t.Helper()
	s := rufus.NewSecret(token)
	target := rufus.Target{Follows: rufus.Device, ID: s}
	h := holder{
		Exported: s, Pointer: &s, List: []rufus.Secret{s}, Map: map[rufus.Secret]rufus.Secret{s: s}, Any: s,
		Target: target, unexported: s, pointer: &s, list: []rufus.Secret{s},
		mapped: map[rufus.Secret]rufus.Secret{s: s}, any: s, target: target,
		inner: struct{ deep []*rufus.Secret }{deep: []*rufus.Secret{&s}},
	}
	list := result("[" + health("deviceid", `"`+token+`"`) + "]")
	c := clientOver(t, "http://api.invalid", patience, canned(http.StatusOK, nil, []byte(list)))
	devices, err := c.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, "", patience, nil)
	return map[string]any{
		"secret": s, "pointer": &s, "list": []rufus.Secret{s, s}, "array": [1]rufus.Secret{s},
		"pointers": []*rufus.Secret{&s}, "map": map[string]rufus.Secret{"x": s}, "key": map[rufus.Secret]int{s: 1},
		"any":    []any{s, &s},
		"target": target, "targets": []rufus.Target{target}, "holder": h, "holder's address": &h, "holders": []holder{h},
		"client": c, "in a struct": struct{ client *rufus.Client }{c}, "options": o, "devices": devices,
		"devices' address": &devices, "mask": rufus.NewMask([]rufus.Secret{s, rufus.NewSecret(key)}),
		"error": fmt.Errorf("no %w, no %v", errors.New(s.String()), s),
	}
}

// shown returns which secrets text shows: as text, as hexadecimal digits or as byte numbers.
func shown(text string) string {
	upper := strings.ToUpper(text)
	for _, secret := range []string{token, key} {
		for _, form := range []string{
			secret,
			hex.EncodeToString([]byte(secret)),
			strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
			strings.ReplaceAll(strings.Trim(fmt.Sprintf("%#v", []byte(secret)), "[]byte{}"), ", ", ","),
		} {
			if strings.Contains(upper, strings.ToUpper(form)) {
				return form
			}
		}
	}
	return ""
}

func TestSecretInFmt(t *testing.T) {
	for name, value := range hidden(t) {
		for _, verb := range "vsqxXdTptbcoOUeEfFgG" {
			for _, flag := range []string{"", "+", "#", " ", "0", "+#"} {
				format := "%" + flag + string(verb)
				if text := fmt.Sprintf(format, value); shown(text) != "" {
					t.Errorf("%s of %s shows %q", format, name, shown(text))
				}
			}
		}
		if text := fmt.Sprint(value) + fmt.Sprintln(value); shown(text) != "" {
			t.Errorf("%s shows %q", name, shown(text))
		}
	}
}

func TestSecretInLogs(t *testing.T) {
	for name, value := range hidden(t) {
		var b bytes.Buffer
		for _, handler := range []slog.Handler{
			slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil), slog.NewMultiHandler(slog.NewTextHandler(&b, nil)),
		} {
			logger := slog.New(handler).With("with", value)
			logger.Info("a message", "value", value)
			logger.Info("a message", slog.Any("any", value), slog.Group("group", "in", value))
		}
		log.New(&b, "", 0).Print(value)
		if shown(b.String()) != "" || b.Len() == 0 {
			t.Errorf("%s shows %q in %d bytes", name, shown(b.String()), b.Len())
		}
	}
}

func TestSecretInMarshallers(t *testing.T) {
	text := template.Must(template.New("").Parse(`{{.}} {{printf "%s %q %v" . . .}} {{print .}} {{html .}} {{js .}}`))
	page := htmltemplate.Must(htmltemplate.New("").Parse(
		`<a href="/x?{{.}}" title={{.}} onclick="f({{.}})">{{.}}</a><script>var x = {{.}}</script><style>{{.}}</style>`))
	marshallers := map[string]func(io.Writer, any) error{
		"JSON":          func(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) },
		"YAML":          func(w io.Writer, v any) error { return yaml.NewEncoder(w).Encode(v) },
		"XML":           func(w io.Writer, v any) error { return xml.NewEncoder(w).Encode(v) },
		"gob":           func(w io.Writer, v any) error { return gob.NewEncoder(w).Encode(v) },
		"text/template": func(w io.Writer, v any) error { return text.Execute(w, v) },
		"html/template": func(w io.Writer, v any) error { return page.Execute(w, v) },
	}
	for name, value := range hidden(t) {
		for kind, marshal := range marshallers {
			var b strings.Builder
			err := func() (err error) {
				defer func() { // yaml.v3 panics on values that it cannot marshal, such as functions
					if r := recover(); r != nil {
						err = fmt.Errorf("%v", r)
					}
				}()
				return marshal(&b, value)
			}()
			if err != nil {
				fmt.Fprint(&b, err)
			}
			if shown(b.String()) != "" {
				t.Errorf("%s of %s shows %q", kind, name, shown(b.String()))
			}
		}
	}
}

func TestSecretIsMasked(t *testing.T) {
	s := rufus.NewSecret(token)
	asJSON, err := json.Marshal(map[string]any{"set": s, "unset": rufus.Secret{}})
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"set": s, "unset": rufus.Secret{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ got, want string }{
		{s.String(), "<secret>"},
		{fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), strings.TrimSpace(strings.Repeat("<secret> ", 7))},
		{fmt.Sprintf("%+v", struct{ Key rufus.Secret }{s}), "{Key:<secret>}"},
		{fmt.Sprintf("%v", rufus.Target{Follows: rufus.Device, ID: s}), "{device <secret>}"},
		{string(asJSON), `{"set":"\u003csecret\u003e","unset":""}`},
		{string(asYAML), "set: <secret>\nunset: \"\"\n"},
		{rufus.Secret{}.String(), ""},
		{rufus.NewSecret("").String(), ""},
		{s.Reveal(), token},
		{rufus.Secret{}.Reveal(), ""},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestSecretsCompare(t *testing.T) {
	again := strings.Clone(token)
	if rufus.NewSecret(token) != rufus.NewSecret(again) || rufus.NewSecret(token) == rufus.NewSecret(other) {
		t.Error("secrets do not compare as their values do")
	}
	if rufus.NewSecret("") != (rufus.Secret{}) {
		t.Error("an empty secret is not the zero one")
	}
	seen := map[rufus.Target]int{{ID: rufus.NewSecret(token)}: 1}
	for target, want := range map[rufus.Target]int{
		{ID: rufus.NewSecret(again)}:                        1,
		{Follows: rufus.Device, ID: rufus.NewSecret(token)}: 0,
	} {
		if seen[target] == want {
			continue
		}
		t.Error("targets do not compare as their values do")
	}
}
