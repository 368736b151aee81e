package config

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzLoad checks that no file causes a panic, that a loaded configuration is valid, and that no message shows a
// secret.
func FuzzLoad(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		for _, content := range openArchive(f, path).unpack() {
			f.Add([]byte(content))
		}
	}
	example, err := os.ReadFile("../sessions.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Setenv(KeyVariable, "")
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse(data, "f.yml")
		if err == nil {
			checkConfig(t, cfg)
			return
		}
		if cfg != nil {
			t.Error("a configuration together with an error")
		}
		checkMessages(t, err, "f.yml")
		if part := leaks(err.Error(), token, token2, device, apiKey); part != "" {
			t.Errorf("%q shows in %s", part, err)
		}
	})
}
