package measure

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// backend is nginx that serves files: keep-alive without an end, no log. A file answers a POST too.
const backend = `
daemon off; user root; worker_processes 1; pid %[1]s/backend.pid;
events { worker_connections 20000; }
http {
	access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 1h;
	default_type text/plain; root %[1]s/www; error_page 405 =200 $uri;
%[2]s}
`

// Serve starts a server for files that are called by their size in bytes. A listener is what nginx' listen takes; everything is kept in dir.
func Serve(ctx context.Context, at Place, dir string, ready func() error, sizes []int, listeners ...string) (*Process, error) {
	www := filepath.Join(dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return nil, err
	}
	for _, size := range sizes {
		if err := os.WriteFile(filepath.Join(www, strconv.Itoa(size)), []byte(strings.Repeat("x", size)), 0o644); err != nil {
			return nil, err
		}
	}
	var servers strings.Builder
	for _, l := range listeners {
		fmt.Fprintf(&servers, "\tserver { listen %s; }\n", l)
	}
	config := filepath.Join(dir, "backend.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, backend, dir, servers.String()), 0o600); err != nil {
		return nil, err
	}
	return Start(ctx, Program{Place: at, Name: "nginx", Args: []string{"-p", dir, "-c", config, "-e", "stderr"}, Alone: true, Ready: ready})
}
