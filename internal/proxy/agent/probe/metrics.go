package probe

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MetricsEnv is the variable that an injector writes into what Prometheus was to scrape of the application: JSON, with what its annotations say.
const MetricsEnv = "ISTIO_PROMETHEUS_ANNOTATIONS"

const (
	// maxMetricsBytes is how much of the application's metrics is handed on.
	maxMetricsBytes = 64 << 20
	// maxMetricsLine is the longest line of them.
	maxMetricsLine = 64 << 10
	// metricsTime is how long the application may take if Prometheus does not say how long it waits.
	metricsTime = 10 * time.Second
)

// scrape is what Prometheus was to ask of the application.
type scrape struct {
	Scrape string `json:"scrape"` // "" is true
	Path   string `json:"path"`   // "" is /metrics
	Port   string `json:"port"`   // "" is 80
	Scheme string `json:"scheme"` // "" is http
}

// Scrape has the application's metrics shown as the environment says; "" is that it has none.
func (h *Handler) Scrape(text string) error {
	if text == "" {
		return nil
	}
	var s scrape
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fmt.Errorf("%s: %w", MetricsEnv, err)
	}
	if s.Scrape != "" {
		if on, err := strconv.ParseBool(s.Scrape); err != nil {
			return fmt.Errorf("%s: scrape: %w", MetricsEnv, err)
		} else if !on {
			return nil
		}
	}
	at, err := strconv.ParseUint(cmp.Or(s.Port, "80"), 10, 16)
	switch {
	case err != nil || at == 0:
		return fmt.Errorf("%s: port %q is no number of a port", MetricsEnv, s.Port)
	case uint16(at) == h.own:
		return fmt.Errorf("%s: port %d is the proxy's own", MetricsEnv, at)
	}
	target, err := url.Parse(strings.ToLower(cmp.Or(s.Scheme, "http")) + "://" + h.at(port(at)) + "/" + strings.TrimPrefix(cmp.Or(s.Path, "/metrics"), "/"))
	if err != nil || target.Scheme != "http" && target.Scheme != "https" {
		return fmt.Errorf("%s: scheme %q or path %q cannot be asked for", MetricsEnv, s.Scheme, s.Path)
	}
	h.scraped = target
	return nil
}

// ScrapeFailures is how often the application's metrics could not be shown, or not all of them. ok is false if it is not asked for any.
func (h *Handler) ScrapeFailures() (n uint64, ok bool) {
	return h.scrapeFailures.Load(), h.scraped != nil
}

// Metrics shows the application's metrics below those of its proxy. Lines are handed on whole and as they are; an application that fails costs only its own.
func (h *Handler) Metrics(proxy http.Handler) http.Handler {
	if h.scraped == nil {
		return proxy
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &statusWriter{ResponseWriter: w}
		proxy.ServeHTTP(seen, r)
		if seen.failed {
			return
		}
		if err := h.scrape(w, r); err != nil && r.Context().Err() == nil {
			h.scrapeFailures.Add(1)
			h.log.Warn("the application's metrics are not shown, or not all", "url", h.scraped, "error", err)
		}
	})
}

// statusWriter remembers whether an answer is an error.
type statusWriter struct {
	http.ResponseWriter
	failed bool
}

func (w *statusWriter) WriteHeader(code int) {
	w.failed = code != http.StatusOK
	w.ResponseWriter.WriteHeader(code)
}

// scrape asks the application. What Prometheus asks with goes along, but for the format, which is that of the proxy's metrics.
func (h *Handler) scrape(w io.Writer, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), scrapeTime(r.Header))
	defer cancel()
	target := *h.scraped
	target.RawQuery = cmp.Or(target.RawQuery, r.URL.RawQuery)
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	ask.Header = r.Header.Clone()
	ask.Header.Del("Connection")
	ask.Header.Del("Accept-Encoding")
	ask.Header.Set("Accept", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
	answer, err := h.client.Do(ask)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New("the application answers " + answer.Status)
	}
	return copyLines(w, io.LimitReader(answer.Body, maxMetricsBytes))
}

// scrapeTime leaves Prometheus a fifth of the time that it waits for the proxy's own metrics.
func scrapeTime(of http.Header) time.Duration {
	seconds, err := strconv.ParseFloat(of.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || !(seconds > 0 && seconds < 3600) {
		return metricsTime
	}
	return time.Duration(seconds * 0.8 * float64(time.Second))
}

// copyLines hands on whole lines, but for the one that ends OpenMetrics' text, which may come only at the end of everything.
func copyLines(w io.Writer, from io.Reader) error {
	lines := bufio.NewReaderSize(from, maxMetricsLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("a line is longer than %d bytes", maxMetricsLine)
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case len(line) > 0 && line[len(line)-1] != '\n': // the last one
			line = append(bytes.Clone(line), '\n')
		}
		if len(line) > 0 && !bytes.HasPrefix(line, []byte("# EOF")) {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}
