package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// admin is Envoy's admin endpoint, as far as it is asked here.
type admin struct {
	at     string
	client *http.Client
}

func newAdmin(at netip.AddrPort) *admin {
	return &admin{"http://" + at.String(), &http.Client{Timeout: 5 * time.Second}}
}

// maxStatsBytes bounds what is read of metrics.
const maxStatsBytes = 256 << 20

func (a *admin) do(ctx context.Context, method, path string, to io.Writer) error {
	r, err := http.NewRequestWithContext(ctx, method, a.at+path, nil)
	if err != nil {
		return err
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
		return fmt.Errorf("%s: %s: %s", path, answer.Status, strings.TrimSpace(string(text)))
	}
	_, err = io.Copy(to, io.LimitReader(answer.Body, maxStatsBytes))
	return err
}

func (a *admin) post(ctx context.Context, path string) error {
	return a.do(ctx, http.MethodPost, path, io.Discard)
}

// values gives the plain statistics whose names match.
func (a *admin) values(ctx context.Context, pattern string) (map[string]int, error) {
	var b strings.Builder
	if err := a.do(ctx, http.MethodGet, "/stats?filter="+url.QueryEscape(pattern), &b); err != nil {
		return nil, err
	}
	out := map[string]int{}
	for line := range strings.Lines(b.String()) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.Atoi(text); err == nil {
			out[name] = n
		}
	}
	return out, nil
}

// connections is how many there are of clients, but for those that look at Envoy itself.
func (a *admin) connections(ctx context.Context) (n int, err error) {
	all, err := a.values(ctx, `^listener\..*\.downstream_cx_active$`)
	for name, v := range all {
		if !strings.HasPrefix(name, "listener.admin.") && !strings.Contains(name, "15090") && !strings.Contains(name, ".worker_") {
			n += v
		}
	}
	return n, err
}

// configured tells whether listeners and clusters have come and are served.
func (a *admin) configured(ctx context.Context) error {
	all, err := a.values(ctx, `^(cluster_manager\.cds|listener_manager\.lds)\.update_(success|rejected)$|^listener_manager\.workers_started$`)
	if err != nil {
		return err
	}
	for _, what := range []string{"cluster_manager.cds", "listener_manager.lds"} {
		if all[what+".update_success"]+all[what+".update_rejected"] == 0 {
			return fmt.Errorf("%s: nothing has come from the control plane yet", what)
		}
	}
	if all["listener_manager.workers_started"] == 0 {
		return errors.New("listener_manager: it does not serve yet")
	}
	return nil
}
