package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// tally counts equal answers.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
	failed int
}

func (t *tally) add(answer string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.failed++
		answer = "error: " + err.Error()
	}
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[answer]++
}

// print writes "COUNT ANSWER" lines, sorted by answer, and fails if any request did.
func (t *tally) print() error {
	for _, k := range sorted(t.counts) {
		fmt.Printf("%d %s\n", t.counts[k], k)
	}
	if t.failed > 0 {
		return fmt.Errorf("%d failed", t.failed)
	}
	return nil
}

func sorted[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// each runs do n times on c goroutines.
func each(n, c int, do func()) {
	work := make(chan struct{})
	var group sync.WaitGroup
	for range c {
		group.Go(func() {
			for range work {
				do()
			}
		})
	}
	for range n {
		work <- struct{}{}
	}
	close(work)
	group.Wait()
}

// asker makes requests with the same header fields.
type asker struct {
	client *http.Client
	url    string
	header list
}

func (k asker) ask(ctx context.Context) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range k.header {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Set(name, strings.TrimSpace(value))
		if strings.EqualFold(name, "host") {
			req.Host = strings.TrimSpace(value)
		}
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, body, err
}

func get(ctx context.Context, args []string) error {
	n, c, timeout, keep, show := 1, 1, 10*time.Second, false, ""
	k := asker{}
	rest := parse("get", args, func(fs *flag.FlagSet) {
		fs.IntVar(&n, "n", n, "how many requests")
		fs.IntVar(&c, "c", c, "how many at a time")
		fs.DurationVar(&timeout, "timeout", timeout, "of one request")
		fs.BoolVar(&keep, "keepalive", keep, "reuse connections")
		fs.StringVar(&show, "show", show, "of every service that had a part: peer, trace, pod; or body, the answer as it is")
		fs.Var(&k.header, "H", "a header field, as in Name:value")
	})
	if len(rest) != 1 {
		return fmt.Errorf("get wants one URL")
	}
	k.url = rest[0]
	k.client = &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: !keep, MaxIdleConnsPerHost: c}}
	var t tally
	each(n, c, func() {
		resp, body, err := k.ask(ctx)
		if err != nil {
			t.add("", err)
			return
		}
		t.add(line(resp, body, show), nil)
	})
	return t.print()
}

// line is an answer in one line: its status, then who had a part in it, or what it says if nobody says so.
func line(resp *http.Response, body []byte, show string) string {
	var a Answer
	if show == "body" || json.Unmarshal(body, &a) != nil || len(a.Hops) == 0 {
		if who := resp.Header.Get(servedBy); who != "" && show != "body" {
			return fmt.Sprint(resp.StatusCode, " ", who)
		}
		return fmt.Sprint(resp.StatusCode, " ", strings.Join(strings.Fields(string(body)), " "))
	}
	words := []string{fmt.Sprint(resp.StatusCode)}
	for _, h := range a.Hops {
		of := map[string]string{"peer": "<-" + h.Peer, "trace": "@" + h.Trace, "pod": "=" + h.Pod}[show]
		if h.Error != "" {
			words = append(words, h.Service+"!"+strings.ReplaceAll(h.Error, " ", "_"))
			continue
		}
		words = append(words, h.Service+"/"+h.Version+of)
	}
	return strings.Join(words, " ")
}
