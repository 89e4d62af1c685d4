package command

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// NewWait makes the command that ends when a proxy in the same Pod is ready: the hook that keeps containers that come after from starting.
func NewWait() *cobra.Command {
	url, timeout := "http://127.0.0.1:15021/healthz/ready", time.Minute
	cmd := &cobra.Command{
		Use:          "wait",
		Short:        "Wait until the proxy in this Pod is ready",
		Long:         "Asks the proxy in this Pod whether it is ready until it says so, or until the time is up; then the exit code is 1.",
		Example:      "  weft-proxy wait --timeout 30s",
		Args:         cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return wait(cmd.Context(), url, timeout) },
	}
	cmd.Flags().StringVar(&url, "url", url, "what answers 200 when the proxy is ready")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait")
	return cmd
}

func wait(ctx context.Context, url string, timeout time.Duration) error {
	const between = 100 * time.Millisecond
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 3 * time.Second}
	var last error
	for {
		if err := ask(ctx, client, url); err == nil {
			return nil
		} else if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the proxy is not ready after %s: %w", timeout, last)
		case <-time.After(between):
		}
	}
}

func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("%s answers %s: %s", url, resp.Status, text)
	}
	return nil
}
