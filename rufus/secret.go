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
// No verb of fmt, no logger and no marshaler shows the value; only Reveal returns it. The string is kept behind a
// handle, because fmt prints unexported fields of enclosing structs without calling their methods. Two secrets are ==
// if their values are, so a Secret can be a map key.
type Secret struct {
	handle unique.Handle[string]
}

// NewSecret returns a Secret with that value. For an empty value, it returns the zero Secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{handle: unique.Make(value)}
}

// Reveal returns the value, "" for the zero Secret. Use the result only in a request to the API or in a comparison.
func (s Secret) Reveal() string {
	if s == (Secret{}) {
		return ""
	}
	return s.handle.Value()
}

// Upper returns the secret in upper case. Use it to compare tokens and ids, whose case does not matter. In the API's
// documentation all of them are in upper case.
func (s Secret) Upper() Secret { return NewSecret(strings.ToUpper(s.Reveal())) }

// masked is the text that every formatter prints instead of the value.
const masked = "<secret>"

// String returns "<secret>", or "" for the zero Secret, so that a log shows whether a value is set.
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
