package jwks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/weftmesh/weft/internal/model"
)

// Bounds of an attempt.
const (
	usualTimeout = 5 * time.Second
	maxTimeout   = 30 * time.Second
	maxBytes     = 256 << 10
)

// NewClient makes the client that keys are fetched with. Whoever may write a policy may have it ask any URL, so that it does not dial addresses
// where clouds tell machines their secrets.
func NewClient() *http.Client {
	dialer := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().Unmap().IsLinkLocalUnicast() {
			return fmt.Errorf("%v is link-local, where no keys are", a.Addr())
		}
		return nil
	}}
	return &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, DisableKeepAlives: true, TLSHandshakeTimeout: usualTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}}
}

// fetch gets the keys at a URL.
func fetch(ctx context.Context, client *http.Client, from model.KeySource) (string, error) {
	timeout := usualTimeout
	if from.Timeout > 0 {
		timeout = min(from.Timeout, maxTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	url := from.URL
	if strings.HasSuffix(url, model.OpenIDConfiguration) {
		text, err := get(ctx, client, url)
		if err != nil {
			return "", err
		}
		var document struct {
			Keys string `json:"jwks_uri"`
		}
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			return "", fmt.Errorf("%s is no OpenID configuration: %w", url, err)
		}
		if url = document.Keys; url == "" {
			return "", fmt.Errorf("%s names no jwks_uri", from.URL)
		}
	}
	text, err := get(ctx, client, url)
	if err != nil {
		return "", err
	}
	if _, err := Check(text); err != nil {
		return "", fmt.Errorf("what %s answers %w", url, err)
	}
	return text, nil
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return "", fmt.Errorf("%q is neither an http nor an https URL", url)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", unnumbered(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %d", url, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", url, unnumbered(err))
	}
	if len(body) > maxBytes {
		return "", fmt.Errorf("%s answers more than %d bytes", url, maxBytes)
	}
	return string(body), nil
}

// unnumbered leaves out of an error what differs from one attempt to the next, such as our port: what is told twice should be the same.
func unnumbered(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Source == nil {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), op.Source.String()+"->", ""))
}
