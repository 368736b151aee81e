package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"

	"rufus_exporter/test/lab"
)

// services are those that the example has ready, on loopback. They record what arrives.
type services struct {
	telegram, smtp, pushover, ntfy string // addresses
	authority                      string // path of the certificate that signed Pushover's

	mu      sync.Mutex
	arrived map[string][]string // by service
}

func startServices(t *testing.T) *services {
	t.Helper()
	s := &services{arrived: map[string][]string{}}
	s.telegram = serve(t, http.HandlerFunc(s.serveTelegram))
	s.ntfy = serve(t, http.HandlerFunc(s.serveNtfy))
	s.startSMTP(t)
	s.startPushover(t)
	return s
}

func (s *services) record(service, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived[service] = append(s.arrived[service], text)
}

// expect waits until each of the services was notified of just this. Its times of day are replaced by normal.
func (s *services) expect(t *testing.T, normal func(string) string, want string, from ...string) {
	t.Helper()
	for _, service := range from {
		eventually(t, service, func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			var all []string
			for _, text := range s.arrived[service] {
				all = append(all, normal(text))
			}
			if slices.Contains(all, want) {
				return nil
			}
			return fmt.Errorf("want\n%s\n\ngot\n%s", want, strings.Join(all, "\n\n"))
		})
	}
}

// serveTelegram is the method sendMessage of Telegram's Bot API.
func (s *services) serveTelegram(w http.ResponseWriter, r *http.Request) {
	var message struct {
		ChatID    string `json:"chat_id"`
		Text      string `json:"text"`
		ParseMode string `json:"parse_mode"`
		Silent    string `json:"disable_notification"`
	}
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	service := "Telegram"
	if message.Silent == "true" {
		service += ", silent"
	}
	if r.URL.Path != "/botTOKEN/sendMessage" || message.ChatID != "-1001234567890" || message.ParseMode != "" {
		service += fmt.Sprintf(", but to %s of %s in %q", message.ChatID, r.URL.Path, message.ParseMode)
	}
	s.record(service, message.Text)
	_, _ = fmt.Fprintf(w, `{"ok": true, "result": {"message_id": 1, "chat": {"id": %s}}}`, message.ChatID)
}

// serveNtfy answers like ntfy: with template=yes the title and the message in the URL are Go templates for the body.
func (s *services) serveNtfy(w http.ResponseWriter, r *http.Request) {
	var body any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var text strings.Builder
	for _, part := range []string{"title", "message"} {
		tmpl, err := template.New("").Parse(r.URL.Query().Get(part) + "\n")
		if err == nil {
			err = tmpl.Execute(&text, body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	service := "ntfy"
	if query := r.URL.Query(); r.URL.Path != "/TOPIC" || query.Get("template") != "yes" || query.Get("priority") != "5" {
		service += ", but to " + r.URL.String()
	}
	s.record(service, strings.TrimSpace(text.String()))
}

// startPushover serves Pushover's API, whose address cannot be set: s.pushover is a proxy to it.
func (s *services) startPushover(t *testing.T) {
	t.Helper()
	authority := lab.NewAuthority(t)
	s.authority = file(t, "authority.pem", authority.PEM())
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		service := "Pushover, priority " + query.Get("priority")
		if r.Host+r.URL.Path != "api.pushover.net/1/messages.json" || query.Get("user")+query.Get("token") != "USER_KEYTOKEN" ||
			query.Get("url") != "https://timing.example.org/" {
			service += ", but to " + r.URL.String()
		}
		s.record(service, query.Get("title")+"\n"+query.Get("message"))
		_, _ = io.WriteString(w, `{"status": 1}`)
	}))
	api.TLS = &tls.Config{Certificates: []tls.Certificate{
		authority.Leaf(func(leaf *x509.Certificate) { leaf.DNSNames = []string{"api.pushover.net"} }),
	}}
	api.StartTLS()
	t.Cleanup(api.Close)
	s.pushover = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "api.pushover.net:443" {
			http.Error(w, r.Host, http.StatusForbidden)
			return
		}
		server, err := new(net.Dialer).DialContext(r.Context(), "tcp", api.Listener.Addr().String())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = server.Close() }()
		w.WriteHeader(http.StatusOK)
		client, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = client.Close() }()
		go func() {
			_, _ = io.Copy(server, buffered)
			_ = server.Close()
		}()
		_, _ = io.Copy(client, server)
	}))
}

// startSMTP serves mail until the test ends, one message a connection.
func (s *services) startSMTP(t *testing.T) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.smtp = listener.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serveMail(textproto.NewConn(conn)) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
}

// serveMail speaks SMTP with a client until it leaves.
func (s *services) serveMail(c *textproto.Conn) {
	defer func() { _ = c.Close() }()
	service := "e-mail"
	for reply := "220 mail.example.org"; ; {
		if c.PrintfLine("%s", reply) != nil {
			return
		}
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		reply = "250 OK"
		switch verb, rest, _ := strings.Cut(line, " "); verb {
		case "EHLO":
			reply = "250-mail.example.org\r\n250 AUTH PLAIN"
		case "AUTH":
			reply = "235 OK"
			login, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			if string(login) != "\x00alertmanager@example.org\x00PASSWORD" {
				reply = "535 wrong"
			}
		case "MAIL", "RCPT":
			if !strings.HasPrefix(line, "MAIL FROM:<alertmanager@example.org>") && line != "RCPT TO:<crew@example.org>" {
				reply = "550 nobody here"
			}
		case "DATA":
			if c.PrintfLine("354 go on") != nil {
				return
			}
			text, err := plainText(c.DotReader())
			if err != nil {
				service, text = "e-mail that is wrong", err.Error()
			}
			s.record(service, text)
		case "QUIT":
			_ = c.PrintfLine("221 bye")
			return
		default:
			reply = "502 what?"
		}
	}
}

// plainText returns the subject and the text of a mail that has no other part.
func plainText(r io.Reader) (string, error) {
	message, err := mail.ReadMessage(r)
	if err != nil {
		return "", err
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(message.Header.Get("Subject"))
	if err != nil {
		return "", err
	}
	_, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil {
		return "", err
	}
	parts := multipart.NewReader(message.Body, params["boundary"])
	part, err := parts.NextPart()
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(part)
	if err != nil {
		return "", err
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("another part: %w", err)
	}
	if kind := part.Header.Get("Content-Type"); kind != "text/plain; charset=UTF-8" {
		return "", fmt.Errorf("is %s", kind)
	}
	return subject + "\n" + strings.ReplaceAll(string(body), "\r\n", "\n"), nil
}
