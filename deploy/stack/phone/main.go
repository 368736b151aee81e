// Command phone stands for the crew's phone in the local stack: it answers Alertmanager as Telegram's Bot API does and
// prints each notification as it arrives. The token of the bot is the name of the receiver, such as "phone" or "chat".
//
// The notifications go to standard output, the address that it listens on, of this machine alone, to standard error.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

func main() {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		logger.Error("cannot listen", "err", err)
		os.Exit(1)
	}
	logger.Info("Listening on", "address", listener.Addr().String())
	server := &http.Server{Handler: handler(os.Stdout, time.Now), ReadHeaderTimeout: 10 * time.Second}
	logger.Error("server ended", "err", server.Serve(listener))
	os.Exit(1)
}

// handler prints the text of each sendMessage of a bot with the time of day. It accepts what is sent to /watchdog and
// prints nothing.
func handler(out io.Writer, now func() time.Time) http.Handler {
	var mu sync.Mutex // one notification at a time
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{bot}/sendMessage", func(w http.ResponseWriter, r *http.Request) {
		var message struct {
			Text   string `json:"text"`
			Silent bool   `json:"disable_notification,string"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&message); err != nil {
			http.Error(w, `{"ok": false, "error_code": 400, "description": "not a message"}`, http.StatusBadRequest)
			return
		}
		event := "rings"
		if message.Silent {
			event = "gets a message"
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(out, "\n%s the %s %s:\n%s\n", now().Format(time.TimeOnly),
			strings.TrimPrefix(r.PathValue("bot"), "bot"), event, indented(message.Text))
		_, _ = io.WriteString(w, `{"ok": true, "result": {"message_id": 1, "chat": {"id": 1}}}`)
	})
	mux.HandleFunc("POST /watchdog", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// indented returns text with each line indented.
func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}
