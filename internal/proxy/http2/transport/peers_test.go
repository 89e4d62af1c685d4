package transport

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// protocols is HTTP/2 in clear text, with prior knowledge.
func protocols() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}

func goClient() *http.Client {
	return &http.Client{Transport: &http.Transport{Protocols: protocols()}}
}

// Go's client sends bodies and trailers through our server and gets them back.
func TestGoClient(t *testing.T) {
	addr := serve(t, echo, Options{})
	client := goClient()
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := make([]byte, 1+i*20000)
			rand.Read(body)
			req, _ := http.NewRequest("POST", fmt.Sprintf("http://%s/%d", addr, i), bytes.NewReader(body))
			req.Header.Set("x-test", strings.Repeat("v", i*100))
			req.Trailer = http.Header{"X-Trailer": nil}
			if i%2 == 0 {
				req.ContentLength = -1
			}
			req.Trailer.Set("x-trailer", "t")
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d: %d bytes of %d came back: %v", i, len(got), len(body), err)
			}
			if resp.Header.Get("x-path") != fmt.Sprint("/", i) || resp.Header.Get("x-test") != strings.Repeat("v", i*100) {
				t.Errorf("%d: %v", i, resp.Header)
			}
			if resp.Trailer.Get("x-trailer") != "t" {
				t.Errorf("%d: trailers %v", i, resp.Trailer)
			}
		})
	}
	wg.Wait()
}

func goServer(t testing.TB, h http.HandlerFunc) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: protocols()}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// Our client does the same with Go's server.
func TestGoServer(t *testing.T) {
	addr := goServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-path", r.URL.Path)
		w.Header().Set("x-test", r.Header.Get("x-test"))
		w.Header().Set("trailer", "x-trailer")
		w.WriteHeader(http.StatusCreated)
		io.Copy(w, r.Body)
		w.Header().Set("x-trailer", r.Trailer.Get("x-trailer"))
	})
	c := dial(t, addr, Options{})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			req := get(fmt.Sprint("/", i))
			req.Method = "POST"
			req.Fields.Add("x-test", strings.Repeat("v", i*100))
			req.Fields.Add("trailer", "x-trailer")
			body := make([]byte, 1+i*20000)
			rand.Read(body)
			length := int64(len(body))
			if i%2 == 0 {
				length = message.Unknown
			}
			x, err := c.Start(req, length)
			if err != nil {
				t.Error(err)
				return
			}
			defer x.Close(message.Done)
			go func() {
				x.Write(body)
				var trailers message.Fields
				trailers.Add("x-trailer", "t")
				x.Finish(&trailers)
			}()
			var resp message.Response
			if err := x.ReadHead(&resp); err != nil || resp.Status != 201 {
				t.Errorf("%d: %v %v", i, resp.Status, err)
				return
			}
			got, err := io.ReadAll(x)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d: %d bytes of %d came back: %v", i, len(got), len(body), err)
			}
			if v, _ := resp.Fields.Get("x-path"); v != fmt.Sprint("/", i) {
				t.Errorf("%d: %v", i, resp.Fields.All())
			}
			if v, _ := x.ResponseTrailers().Get("x-trailer"); v != "t" {
				t.Errorf("%d: trailers %v", i, x.ResponseTrailers().All())
			}
		})
	}
	wg.Wait()
}
