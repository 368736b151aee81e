package rufus_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"rufus_exporter/rufus"
)

func ExampleClient() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("api_key") != "ror-0123456789abcdef0123":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path != "/v0/sessions/FINISH0123456789":
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprint(w, `{description: "Session not found", token_session: "YESTERDAY0123456"}`)
		default:
			_, _ = fmt.Fprint(w, `{"description": "Success", "result": [{
				"token_session": "FINISH0123456789", "alias": "FINISH-10K", "active": true, "passings": 31,
				"first": "2023-02-03T16:08:18.263Z", "last": null}]}`)
		}
	}))
	defer api.Close()
	base, err := url.Parse(api.URL + "/v0")
	if err != nil {
		panic(err)
	}

	transport := rufus.NewTransport(rufus.TransportOptions{MaxConns: 32, Timeout: 5 * time.Second})
	defer transport.Close()
	client := rufus.NewClient(rufus.Options{
		URL:       base,
		Key:       rufus.NewSecret("ror-0123456789abcdef0123"),
		KeyHeader: "api_key",
		UserAgent: "example/1.0",
		Timeout:   5 * time.Second,
		Transport: transport,
	})

	session, err := client.Session(context.Background(), rufus.NewSecret("FINISH0123456789"))
	if err != nil {
		panic(err)
	}
	passings, _ := session.Passings.Get()
	first, _ := session.First.Get()
	_, known := session.Last.Get()
	fmt.Println(session.Alias, session.Active, passings, first, known)

	_, err = client.Session(context.Background(), rufus.NewSecret("YESTERDAY0123456"))
	fmt.Println(err)
	// Output:
	// FINISH-10K true 31 2023-02-03 16:08:18.263 +0000 UTC false
	// not_found: the API knows no such session
}
