package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
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

func (t *tally) add(s string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.failed++
		s = "error: " + err.Error()
	}
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[s]++
}

// print writes "COUNT ANSWER" lines, sorted by answer, and fails if any request did.
func (t *tally) print() error {
	keys := make([]string, 0, len(t.counts))
	for k := range t.counts {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Printf("%d %s\n", t.counts[k], k)
	}
	if t.failed > 0 {
		return fmt.Errorf("%d failed", t.failed)
	}
	return nil
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

func get(ctx context.Context, args []string) error {
	n, c, timeout := 1, 1, 5*time.Second
	var headers addrs
	whole, keep, insecure := false, false, false
	rest := parse("get", args, func(fs *flag.FlagSet) {
		fs.IntVar(&n, "n", n, "how many requests")
		fs.IntVar(&c, "c", c, "how many at a time")
		fs.DurationVar(&timeout, "timeout", timeout, "of one request")
		fs.Var(&headers, "H", "a header, as in Name:value")
		fs.BoolVar(&whole, "whole", whole, "print the whole answer, not only status, name and client")
		fs.BoolVar(&keep, "keepalive", keep, "reuse connections")
		fs.BoolVar(&insecure, "k", insecure, "https: take any certificate; the name asked for is that of the Host header")
	})
	if len(rest) != 1 {
		return fmt.Errorf("get wants one URL")
	}
	var trust *tls.Config
	if insecure {
		trust = &tls.Config{InsecureSkipVerify: true, ServerName: hostOf(headers)}
	}
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: !keep, MaxIdleConnsPerHost: c, TLSClientConfig: trust},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var t tally
	each(n, c, func() { t.add(once(ctx, client, rest[0], headers, whole)) })
	return t.print()
}

// hostOf is the Host header among these, "" if there is none.
func hostOf(headers []string) string {
	for _, h := range headers {
		if k, v, _ := strings.Cut(h, ":"); strings.EqualFold(k, "host") {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func once(ctx context.Context, client *http.Client, url string, headers []string, whole bool) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ":")
		req.Header.Set(k, strings.TrimSpace(v))
		if strings.EqualFold(k, "host") {
			req.Host = strings.TrimSpace(v)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	var a answer
	if whole || json.Unmarshal(body, &a) != nil || a.Name == "" {
		return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body))), nil
	}
	return fmt.Sprintf("%d %s %s", resp.StatusCode, strings.TrimSpace(a.Name+" "+a.Version), a.Client), nil
}

func dial(ctx context.Context, args []string) error {
	n, timeout, every, until, name := 1, 3*time.Second, time.Duration(0), 0, ""
	rest := parse("dial", args, func(fs *flag.FlagSet) {
		fs.IntVar(&n, "n", n, "how many connections")
		fs.DurationVar(&timeout, "timeout", timeout, "of one connection, or one question")
		fs.StringVar(&name, "tls", name, "tcp: speak TLS, and ask for this name; whoever answers is believed")
		fs.DurationVar(&every, "every", every, "udp: ask through one socket, this often")
		fs.IntVar(&until, "until", until, "with -every: stop when this many different answers came")
	})
	if len(rest) != 2 {
		return fmt.Errorf("dial wants a network and an address")
	}
	var t tally
	if every > 0 {
		ask := talk{network: rest[0], address: rest[1], n: n, until: until, timeout: timeout, every: every}
		if err := ask.run(ctx, &t); err != nil {
			return err
		}
		return t.print()
	}
	each(n, 1, func() { t.add(message(ctx, rest[0], rest[1], name, timeout)) })
	return t.print()
}

// talk asks through one socket again and again, whatever comes of it.
type talk struct {
	network, address string
	n, until         int
	timeout, every   time.Duration
}

func (k talk) run(ctx context.Context, t *tally) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, k.network, k.address)
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(k.every)
	defer tick.Stop()
	answers := map[string]bool{}
	for range k.n {
		c.SetDeadline(time.Now().Add(k.timeout))
		answer, err := ask(c, k.network)
		t.add(answer, err)
		if err == nil {
			answers[answer] = true
		}
		if k.until > 0 && len(answers) >= k.until {
			break
		}
		<-tick.C
	}
	return nil
}

func message(ctx context.Context, network, address, name string, timeout time.Duration) (string, error) {
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	c.SetDeadline(end)
	if name != "" {
		return ask(tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}), network)
	}
	return ask(c, network)
}

// ask reads one message of the server, which speaks first unless it is asked by datagram.
func ask(c net.Conn, network string) (string, error) {
	if strings.HasPrefix(network, "udp") {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
	}
	buf := make([]byte, 2048)
	k, err := c.Read(buf)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(buf[:k])), nil
}
