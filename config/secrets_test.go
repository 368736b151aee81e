package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// leaks returns the longest part of a secret in text that is longer than the 8 characters that may be shown.
func leaks(text string, secrets ...string) string {
	text = strings.ToLower(text)
	for _, secret := range secrets {
		secret = strings.ToLower(secret)
		for i := 0; i+9 <= len(secret); i++ {
			if strings.Contains(text, secret[i:i+9]) {
				return secret[i : i+9]
			}
		}
	}
	return ""
}

// TestNoMessageShowsASecret puts secrets in every place of a file, in many ways, and checks the messages. Only the
// prefix ror- of an API key may be shown.
func TestNoMessageShowsASecret(t *testing.T) {
	t.Setenv(KeyVariable, "")
	const password = "pa55w0rd-of-the-proxy"
	const file = `api:
  url: https://api.example/v0
  key: k1
  key_header: api_key
  timeout: 5s
  max_concurrent_requests: 32
  min_interval: 0s
  device_metrics: true
  tls_config:
    ca: x
    cert_file: no
    key_file: no
    server_name: x
    insecure_skip_verify: true
    min_version: TLS12
  proxy_url: http://proxy
  no_proxy: x
sessions:
  - 1C3A38059155C47209E3F09210B22D02B079F231A6D4D53421D65E076CD82D56
  - token: 65A1B7E0C6BC3D32C268C1506E3F6F39E225DC6ED79573E177E7243E8E38115B
    name: finish-10k
    labels: {race: city-run}
    silent_after: 10m
    race: city-run
    expected:
      from: 14m
      until: 1h40m
races:
  - name: city-run
    start: 2026-11-29T09:00:00-03:00
  - name: kids
    start:
      - 2026-11-28T09:00:00-03:00
devices:
  - alias: (?P<point>.+)-5k
    name: x$point
    race: kids
    silent_after: 10m
  - serial_number: O4A-1
    ignore: true
`
	lines := strings.Split(strings.TrimSpace(file), "\n")
	// «» is the text before the value in its line, <> is the value, and $ is the secret.
	templates := []string{
		`«»$`, `«»"$"`, `«»'$`, `«»"$`, `«»[$]`, `«»{$: x}`, `«»{x: $}`, `«»*$`, `«»&$`, `«»!$ x`, `«»!!$`,
		`«»!<$> x`, `«»@$`, `«»|$`, "«»|\n$", `«»%$`, `«»$: <>`, `«»<> $`, `«»<>: $`, `«»http://u:$@h:x/`,
		`«»http://h/$%zz`, `«»/$`, `«»Bearer $`, `«»"\$"`, "«»<>\n$", "«»<>\n---\n$", "«»$\x00", "«»$\xff",
		"«»$\u200b", `$`, `$: <>`, "\t$", `  $: x`, "  $: x\n  $: y", "    $: x\n    $: y", `  - $`,
		"  - $\n  - $", `%$`, "%TAG ! $\n---", `? $`,
	}
	secrets := []string{token, apiKey, password}
	seen := 0
	for i, line := range lines {
		cut := strings.LastIndex(line, ": ") + 2
		if cut < 2 {
			cut = strings.LastIndex(line, "- ") + 2
		}
		if cut < 2 {
			cut = len(line)
		}
		for _, template := range templates {
			for _, secret := range secrets {
				changed := append([]string{}, lines...)
				changed[i] = strings.NewReplacer("«»", line[:cut], "<>", line[cut:], "$", secret).Replace(template)
				text := strings.Join(changed, "\n") + "\n"
				_, err := Parse([]byte(text), "f.yml")
				if err == nil {
					continue // the file is valid
				}
				seen++
				if part := leaks(err.Error(), secret); part != "" {
					t.Errorf("%q shows\n%s\nof\n%s", part, err, text)
				}
				if strings.HasSuffix(secret, apiKey) && strings.Contains(err.Error(), apiKey[4:7]) {
					t.Errorf("the key shows in\n%s\nof\n%s", err, text)
				}
			}
		}
	}
	if seen < len(lines)*len(templates) {
		t.Errorf("only %d messages were seen", seen)
	}
}

// TestConfigPrintsNoSecret checks that a configuration can be logged.
func TestConfigPrintsNoSecret(t *testing.T) {
	t.Setenv(KeyVariable, "")
	const password = "pa55w0rd-of-the-proxy"
	cfg := parse(t, "api: {key: "+apiKey+", proxy_url: \"http://me:"+password+"@proxy\"}\n"+
		"sessions: ["+token+", {device: "+device+", name: turn}]")
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+"\n", cfg)
		fmt.Fprintf(&b, verb+"\n", *cfg)
		fmt.Fprintf(&b, verb+"\n", cfg.API)
		fmt.Fprintf(&b, verb+"\n", cfg.Sessions)
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "cfg", cfg, "api", cfg.API, "sessions", cfg.Sessions)
	sessions, err := json.Marshal(cfg.Sessions)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(sessions)
	if part := leaks(b.String(), token, device, apiKey, password); part != "" {
		t.Errorf("%q shows in\n%s", part, b.String())
	}
	if !strings.Contains(b.String(), "turn") {
		t.Error("nothing was printed")
	}
}
