package control

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// What is asked arrives, and what goes wrong is told in words.
func TestClient(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for range 2 { // what a killed lab left is no hindrance
		l, err := Listen(socket)
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("GET /status", Handle(func(*http.Request, struct{}) (*Status, error) {
			return &Status{Name: "x", State: Running}, nil
		}))
		mux.Handle("POST /tunnels", Handle(func(_ *http.Request, in Tunnel) (Tunnel, error) {
			if in.Port == 0 {
				return in, errors.New("no port")
			}
			in.HostPort++
			return in, nil
		}))
		server := &http.Server{Handler: mux}
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(l) }()

		c := NewClient(socket)
		if s, err := c.Status(t.Context()); err != nil || s.Name != "x" {
			t.Errorf("status: %+v, %v", s, err)
		}
		tunnel := Tunnel{Port: 1, HostPort: 2}
		if err := c.Do(t.Context(), "/tunnels", tunnel, &tunnel); err != nil || tunnel.HostPort != 3 {
			t.Errorf("tunnel: %+v, %v", tunnel, err)
		}
		if err := c.Do(t.Context(), "/tunnels", Tunnel{}, nil); err == nil || err.Error() != "no port" {
			t.Errorf("a failure: %v", err)
		}
		if err := c.Do(t.Context(), "/tunnels", "not a tunnel", nil); err == nil || !strings.Contains(err.Error(), "request") {
			t.Errorf("a bad request: %v", err)
		}
		if err := c.Do(t.Context(), "/nothing", nil, nil); err == nil {
			t.Error("nothing answers")
		}
		server.Close()
		<-ended
	}
	if _, err := NewClient(socket).Status(t.Context()); err == nil {
		t.Error("nobody answers")
	}
}

// Numbers are translated, and a machine that is not found is off.
func TestLocate(t *testing.T) {
	s := &Status{
		Router: Machine{Name: "router", On: true, PID: 1},
		Nodes:  []Machine{{Name: "a", On: true, PID: 7}, {Name: "b", On: true, PID: 8}, {Name: "c"}},
	}
	s.Locate(func(pid int) (int, bool) { return pid + 100, pid != 8 }, func(int) string { return "path" })
	for name, want := range map[string]Machine{
		"router": {Name: "router", On: true, PID: 101, Netns: "path"},
		"a":      {Name: "a", On: true, PID: 107, Netns: "path"},
		"b":      {Name: "b"},
		"c":      {Name: "c"},
	} {
		got, ok := s.Machine(name)
		if !ok || got.On != want.On || got.PID != want.PID || got.Netns != want.Netns {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
