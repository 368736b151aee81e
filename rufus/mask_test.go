package rufus_test

import (
	"strings"
	"testing"

	"rufus_exporter/rufus"
)

func TestMask(t *testing.T) {
	mask := rufus.NewMask([]rufus.Secret{
		rufus.NewSecret("AAAABBBBCCCCDDDD"), rufus.NewSecret("aaaabbbbccccdddd-1"), rufus.NewSecret("x_x-x_x-x_x-x_x-"),
	})
	for text, want := range map[string]string{
		"":                                 "",
		"START-5K":                         "START-5K",
		"aaaabbbbccccddd":                  "aaaabbbbccccddd",
		"AaAaBbBbCcCcDdDd":                 "<secret>",
		"see AAAABBBBCCCCDDDD-1!":          "see <secret>!",
		"AAAABBBBCCCCDDDDX_X-x_x-X_X-x":    "<secret>X_X-x_x-X_X-x",
		"AAAABBBBCCCCDDDDX_X-x_x-X_X-x_x-": "<secret><secret>",
		"\u0130\xff\u212a AAAABBBBCCCCDDDD \u0130": "\u0130\xff\u212a <secret> \u0130",
	} {
		if got := mask.Hide(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if got := mask.Contains(text); got != strings.Contains(want, "<secret>") {
			t.Errorf("%q: contains %t", text, got)
		}
	}
	if text := "AAAABBBBCCCCDDDD"; (rufus.Mask{}).Contains(text) || rufus.NewMask(nil).Contains(text) {
		t.Error("an empty mask finds something")
	}
}
