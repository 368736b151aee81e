package rufus

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unique"
)

// Secret is a string that must never be printed: the API key, a session token or a device id. With a WRITE key a
// token lets anyone insert passings, so tokens and ids are treated like the key.
//
// No verb of fmt, no logger and no marshaller shows the value; only Reveal returns it. The string is kept behind a
// handle because fmt reads unexported fields of enclosing structs without asking their methods, and would print it
// otherwise. Two secrets are == when their values are, so a Secret can be a map key.
type Secret struct {
	handle unique.Handle[string]
}

// NewSecret hides value. An empty value gives the zero Secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{handle: unique.Make(value)}
}

// Reveal returns the value itself, "" for the zero Secret. Its result must reach nothing but a request to the API
// or a comparison.
func (s Secret) Reveal() string {
	if s == (Secret{}) {
		return ""
	}
	return s.handle.Value()
}

// Upper returns the secret in upper case, which tells tokens and ids apart: letter case alone does not. In the API's
// documentation all are upper-case.
func (s Secret) Upper() Secret { return NewSecret(strings.ToUpper(s.Reveal())) }

// masked is what every formatter shows instead of a value.
const masked = "<secret>"

// String returns "<secret>", or "" for the zero Secret, so that one sees whether a value is set.
func (s Secret) String() string {
	if s == (Secret{}) {
		return ""
	}
	return masked
}

// Format implements fmt.Formatter: every verb and flag prints what String returns.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler, and with it JSON, YAML and XML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
