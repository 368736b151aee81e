package rufus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"rufus_exporter/rufus"
)

// plain is the least that can be decoded of an answer.
type plain struct {
	Result []struct {
		Token    string `json:"token_session"`
		Alias    string `json:"alias"`
		Created  string `json:"creation_date"`
		Duration string `json:"duration"`
		Active   bool   `json:"active"`
		Passings int    `json:"passings"`
		First    string `json:"first"`
		Last     string `json:"last"`
	} `json:"result"`
}

// floor asks for a session with no more than net/http and encoding/json.
func floor(client *http.Client, address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("api_key", key)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var p plain
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if len(p.Result) != 1 || p.Result[0].Passings != 31 {
		return fmt.Errorf("got %+v", p)
	}
	return nil
}

// compare runs the client and the floor in turn, over the same transport.
func compare(b *testing.B, base string, over http.RoundTripper) {
	b.Helper()
	b.Run("floor", func(b *testing.B) {
		client := &http.Client{Transport: over}
		b.ReportAllocs()
		for b.Loop() {
			if err := floor(client, base+sessionPath); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("client", func(b *testing.B) {
		c := clientOver(b, base, patience, over)
		id := rufus.NewSecret(token)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Session(context.Background(), id); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The client allocates no more often than the least that a request takes.
func TestAllocations(t *testing.T) {
	over := canned(http.StatusOK, http.Header{}, []byte(one()))
	least := testing.AllocsPerRun(100, func() {
		if err := floor(&http.Client{Transport: over}, "http://api.invalid"+sessionPath); err != nil {
			t.Fatal(err)
		}
	})
	c := clientOver(t, "http://api.invalid", patience, over)
	taken := testing.AllocsPerRun(100, func() {
		if _, err := c.Session(context.Background(), rufus.NewSecret(token)); err != nil {
			t.Fatal(err)
		}
	})
	if taken > least {
		t.Errorf("%v allocations for a session, the least is %v", taken, least)
	}
}

// BenchmarkDecode measures all but the network: making a request and reading its answer.
func BenchmarkDecode(b *testing.B) {
	compare(b, "http://api.invalid", canned(http.StatusOK, http.Header{}, []byte(one())))
}

// BenchmarkSession measures a request over loopback, the server's part included.
func BenchmarkSession(b *testing.B) {
	compare(b, api(b, says(http.StatusOK, one())), transport(b, rufus.TransportOptions{MaxConns: 1, Timeout: patience}))
}
