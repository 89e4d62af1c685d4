package proxy_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"
)

// A client that waits to be told that it may send the body is told, whatever version it speaks.
func TestContinue(t *testing.T) {
	b := backend(t, echo)
	for _, h2 := range []bool{false, true} {
		r := start(t, []string{hcm("main", "", all(toWeb("/", "")))}, []string{cluster("web", "", b)})
		p := new(http.Protocols)
		p.SetHTTP1(!h2)
		p.SetUnencryptedHTTP2(h2)
		tr := &http.Transport{Protocols: p, ExpectContinueTimeout: time.Hour}
		told := make(chan struct{}, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { told <- struct{}{} }})
		req, err := http.NewRequestWithContext(ctx, "POST", "http://"+r.addr("main")+"/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("expect", "100-continue")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatalf("HTTP/2 %v: %v", h2, err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !strings.Contains(string(body), " 4\n") || strings.Contains(string(body), "\nexpect:") {
			t.Errorf("HTTP/2 %v: %q", h2, body)
		}
		within(t, "100", told)
		cancel()
		tr.CloseIdleConnections()
		r.end()
	}
}
