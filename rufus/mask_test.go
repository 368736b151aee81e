package rufus_test

import (
	"fmt"
	"strconv"
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

// Short ids, and an API key that is not set, are not masked.
func TestMaskOfShortSecrets(t *testing.T) {
	short := rufus.NewSecret("START-5")
	for _, secrets := range [][]rufus.Secret{{{}}, {short}, {{}, short, rufus.NewSecret("AAAABBBBCCCCDDDD")}} {
		mask := rufus.NewMask(secrets)
		if got := mask.Hide("START-5K"); got != "START-5K" || mask.Contains("START-5K") {
			t.Errorf("got %q", got)
		}
	}
}

// The time to mask a text does not depend on the number of secrets, even if they have the same prefix.
func BenchmarkMask(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		secrets := make([]rufus.Secret, n)
		for i := range secrets {
			secrets[i] = rufus.NewSecret(fmt.Sprintf("%064X", i*7919)[:16+i%48] + strconv.Itoa(i))
		}
		mask := rufus.NewMask(secrets)
		text := strings.Repeat("0A1B2C3D", 25)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				mask.Hide(text)
			}
		})
	}
}
