package routing

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Answer is what came of a request.
type Answer struct {
	Status int
	GRPC   int // -1: it was no gRPC, or had no status
	Header http.Header
	Body   string
	Seen   *Seen // nil if no endpoint answered
	Closed bool  // nothing came at all
}

// Client asks a proxy.
type Client struct {
	Dial  func(ctx context.Context, port uint16) (net.Conn, error) // to the listener with this declared port
	Roots *x509.CertPool

	asked atomic.Uint64
}

// Ask makes the case's request once, on a connection of its own.
func (c *Client) Ask(ctx context.Context, q Case) (Answer, error) {
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	if q.Method == "TCP" || q.Method == "TLS" {
		return c.connect(ctx, q)
	}
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, Protocols: new(http.Protocols),
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx, q.Port) },
		TLSClientConfig: &tls.Config{RootCAs: c.Roots, ServerName: q.URL.Hostname(), MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	if q.Method == "GRPC" {
		transport.Protocols.SetUnencryptedHTTP2(q.URL.Scheme == "http")
		transport.Protocols.SetHTTP2(true)
	} else {
		transport.Protocols.SetHTTP1(true)
	}
	r, err := c.request(ctx, q)
	if err != nil {
		return Answer{}, err
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		if ctx.Err() != nil {
			return Answer{}, err
		}
		return Answer{Closed: true, GRPC: -1}, nil
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return Answer{}, fmt.Errorf("the answer's body: %w", err)
	}
	a := Answer{Status: response.StatusCode, GRPC: -1, Header: response.Header, Body: string(body)}
	status := response.Header.Get("grpc-status")
	if s := response.Trailer.Get("grpc-status"); s != "" {
		status = s
	}
	if n, err := strconv.Atoi(status); err == nil {
		a.GRPC = n
	}
	if response.Header.Get("x-endpoint") != "" {
		if q.Method == "GRPC" && len(body) > 5 {
			body = body[5:]
		}
		a.Seen = new(Seen)
		if err := json.Unmarshal(body, a.Seen); err != nil && q.Method != http.MethodHead {
			return a, fmt.Errorf("what the endpoint says: %w", err)
		}
		a.Seen.Name = response.Header.Get("x-endpoint")
	}
	return a, nil
}

func (c *Client) request(ctx context.Context, q Case) (*http.Request, error) {
	method, body := q.Method, []byte(q.Body)
	if method == "GRPC" {
		method = http.MethodPost
		body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(q.Body))), q.Body...)
	}
	r, err := http.NewRequestWithContext(ctx, method, q.URL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.URL.Opaque = "//" + q.URL.Host + q.URL.EscapedPath() // as written, not normalised
	if q.URL.RawPath == "" && q.URL.Path == "" {
		r.URL.Opaque += "/"
	}
	r.Header.Set("user-agent", "routing")
	r.Header.Set("x-case", strconv.FormatUint(c.asked.Add(1), 10))
	if q.Method == "GRPC" {
		r.Header.Set("content-type", "application/grpc")
		r.Header.Set("te", "trailers")
	}
	for _, h := range q.Headers {
		if strings.EqualFold(h[0], "host") {
			r.Host = h[1]
			continue
		}
		r.Header.Add(h[0], h[1])
	}
	return r, nil
}

// connect opens a connection and reads the name of whoever answers.
func (c *Client) connect(ctx context.Context, q Case) (Answer, error) {
	closed := Answer{Closed: true, GRPC: -1}
	conn, err := c.Dial(ctx, q.Port)
	if err != nil {
		return closed, nil //nolint:nilerr // that is the answer
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if q.Method == "TLS" {
		conn = tls.Client(conn, &tls.Config{ServerName: q.URL.Hostname(), InsecureSkipVerify: true}) //nolint:gosec // who it is, is what is asked
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		if ctx.Err() != nil {
			return Answer{}, ctx.Err()
		}
		return closed, nil
	}
	return Answer{GRPC: -1, Seen: &Seen{Name: strings.TrimSpace(line)}}, nil
}
