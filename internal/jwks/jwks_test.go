package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

const (
	first  = `{"keys":[{"kty":"RSA","n":"a","e":"AQAB"}]}`
	second = `{"keys":[{"kty":"RSA","n":"b","e":"AQAB"}]}`
)

// web answers for URLs as the test says.
type web struct {
	mu    sync.Mutex
	pages map[string]string // "" is no answer at all
	asked int
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	body := w.pages[r.URL.String()]
	if body == "" {
		return nil, errors.New("nobody answers")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (w *web) say(url, body string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[url] = body
}

// wanter is an object that asks for keys.
type wanter struct {
	name string
	urls []string
}

// fetching runs a Fetcher over objects that the test puts.
func fetching(t *testing.T, pages map[string]string) (w *web, s *store.Store, keys *store.Table[model.KeySet], put func(name string, urls ...string)) {
	s = store.New(nil)
	objects := store.NewTable(s, "Wanter", func(o *wanter) store.Key { return store.Key{Name: o.name} }, nil)
	wanted := derive.Define(s.DB(), "wanted", nil, func(r *derive.Reader, k store.Key) (out []model.KeySource) {
		if o := objects.Get(r, k); o != nil {
			for _, u := range o.urls {
				out = append(out, model.KeySource{URL: u})
			}
		}
		return out
	})
	src := s.Source("test")
	put = func(name string, urls ...string) {
		src.Commit(func(tx *store.Tx) {
			if urls == nil {
				objects.Delete(tx, store.Key{Name: name})
			} else {
				objects.Put(tx, &wanter{name, urls})
			}
		})
	}
	w, keys = &web{pages: pages}, NewTable(s)
	src.Expect("Wanter")
	f := &Fetcher{Client: &http.Client{Transport: w}, Store: s, Table: keys, Wanted: derive.Each(wanted, objects.KeySet()), After: "Wanter", Log: slog.New(slog.DiscardHandler)}
	f.Expect()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w, s, keys, put
}

func TestKeysAreFetchedAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const at, discovered = "http://a.test/keys", "http://b.test" + model.OpenIDConfiguration
		w, s, keys, put := fetching(t, map[string]string{at: first, discovered: `{"jwks_uri":"http://b.test/k"}`, "http://b.test/k": second})
		put("one", at, "http://gone.test/k")
		put("two", discovered, at)
		synctest.Wait()
		if s.Synced() || keys.Len() > 0 {
			t.Error("something was fetched before all was known that is asked for")
		}
		s.Source("test").MarkSynced("Wanter")
		synctest.Wait()
		if !s.Synced() {
			t.Error("the store waits after the first attempt")
		}
		expect := func(url, body, problem string) {
			t.Helper()
			synctest.Wait()
			k := keys.Peek(Key(url))
			if k == nil || k.Keys != body || !strings.Contains(k.Problem, problem) || (problem == "") != (k.Problem == "") {
				t.Errorf("%s: %+v, want %q, %q", url, k, body, problem)
			}
		}
		expect(at, first, "")
		expect(discovered, second, "")
		expect("http://gone.test/k", "", "nobody answers")
		w.say("http://gone.test/k", second) // it is tried again soon
		time.Sleep(3 * time.Second)
		expect("http://gone.test/k", second, "")
		w.say(at, "")
		time.Sleep(refreshEvery)
		expect(at, first, "nobody answers")
		w.say(at, second)
		time.Sleep(lastRetry + time.Second)
		expect(at, second, "")
		w.say(at, "<html>")
		time.Sleep(refreshEvery)
		expect(at, second, "is no JWKS")
		put("two")
		synctest.Wait()
		if keys.Peek(Key(discovered)) != nil || keys.Peek(Key(at)) == nil {
			t.Error("what nobody asks for any more stays, or what somebody does goes")
		}
		asked := w.asked
		put("three", "http://c.test/k")
		expect("http://c.test/k", "", "nobody answers")
		if w.asked != asked+1 {
			t.Errorf("a new URL made %d attempts", w.asked-asked)
		}
	})
}

// What is read is bounded, and only what is a JWKS is kept.
func TestFetch(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			_, _ = io.WriteString(w, first)
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		case "/slow":
			<-r.Context().Done()
		case "/empty" + model.OpenIDConfiguration:
			_, _ = io.WriteString(w, "{}")
		case "/file" + model.OpenIDConfiguration:
			_, _ = io.WriteString(w, `{"jwks_uri":"file:///etc/passwd"}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s.Close()
	for path, want := range map[string]string{
		"/good": "", "/endless": "more than 262144 bytes", "/slow": "deadline", "/none": "answers 404", "/empty" + model.OpenIDConfiguration: "names no jwks_uri",
		"/file" + model.OpenIDConfiguration: "neither an http nor an https URL",
	} {
		got, err := fetch(t.Context(), NewClient(), model.KeySource{URL: s.URL + path, Timeout: 2 * time.Second})
		if want == "" && (err != nil || got != first) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if _, err := fetch(t.Context(), NewClient(), model.KeySource{URL: "http://169.254.169.254/latest"}); err == nil || !strings.Contains(err.Error(), "link-local") {
		t.Errorf("a link-local address: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		first: "false <nil>", `{"keys":[{"kty":"EC","d":"x"}]}`: "true <nil>", `{"keys":[]}`: "false has no keys", `{}`: "false has no keys", `{"keys":[{}]}`: "false keys[0] has no kty",
		`{"keys":7}`: "false is no JWKS", `x`: "false is no JWKS", "": "false is no JWKS",
	} {
		private, err := Check(text)
		if got := fmt.Sprintf("%v %v", private, err); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// FuzzCheck: nothing that stands where keys should panics.
func FuzzCheck(f *testing.F) {
	f.Add(first)
	f.Add(`{"keys":[null]}`)
	f.Fuzz(func(_ *testing.T, text string) { _, _ = Check(text) })
}
