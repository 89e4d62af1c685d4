package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// maxBodyBytes is how much of the application's answer is handed on, as much as a kubelet reads.
const maxBodyBytes = 10 << 10

// newClient is one as kubelets use: a connection for each question, no certificate is looked at, and a redirect to another host is an answer.
func (h *Handler) newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: h.dial, DisableKeepAlives: true, DisableCompression: true, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as Kubernetes documents of probes with scheme HTTPS
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			switch {
			case r.URL.Hostname() != via[0].URL.Hostname():
				return http.ErrUseLastResponse
			case len(via) >= 10:
				return errors.New("it redirects ten times")
			}
			return nil
		},
	}
}

// get asks for a path and hands on the answer.
func (h *Handler) get(ctx context.Context, w http.ResponseWriter, r *http.Request, p *httpGet) error {
	path := p.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	scheme := "http"
	if p.Scheme == "HTTPS" {
		scheme = "https"
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+h.at(p.Port)+path, nil)
	if err != nil {
		return err
	}
	ask.Header = r.Header.Clone()
	ask.Header.Del("Connection")
	ask.Host = h.host(r.Host, p.Port)
	answer, err := h.client.Do(ask)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 && answer.StatusCode < 400 {
		return nil // success, and without its Location no redirect that a kubelet understands
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBodyBytes))
	if err != nil {
		return fmt.Errorf("body of the answer: %w", err)
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(body) // the kubelet may have gone
	return nil
}

// host is the Host that the application would have been asked with: a port that is the agent's stands for its own.
func (h *Handler) host(asked string, p port) string {
	if host, at, err := net.SplitHostPort(asked); err == nil && at == strconv.Itoa(int(h.own)) {
		return net.JoinHostPort(host, strconv.Itoa(int(p)))
	}
	return asked
}
