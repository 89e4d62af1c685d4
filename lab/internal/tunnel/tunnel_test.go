package tunnel

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/network"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]control.Tunnel{
		"8080:node-1:30080":   {Port: 8080, Host: "node-1", HostPort: 30080},
		"0:10.89.0.200:80":    {Host: "10.89.0.200", HostPort: 80},
		"8443:[fd89::200]:43": {Port: 8443, Host: "fd89::200", HostPort: 43},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "8080", "8080:node-1", "8080::80", "x:node-1:80", "8080:node-1:0", "8080:node-1:x", "70000:node-1:80", "8080:fd89::200:80"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestResolve(t *testing.T) {
	plan, err := network.New(2)
	if err != nil {
		t.Fatal(err)
	}
	on := func(name, ip string) control.Machine {
		return control.Machine{Name: name, IPs: []netip.Addr{netip.MustParseAddr(ip)}, On: true, Netns: "/" + name}
	}
	s := &control.Status{Name: "x", Network: plan, Outside: on("outside", "10.89.0.100"), Nodes: []control.Machine{on("node-1", "10.89.0.11"), on("node-2", "10.89.0.12")}}
	s.Nodes[0].On = false
	got := map[string]string{}
	for _, host := range []string{"node-2", "node-1", "10.89.0.200", "10.96.0.10", "fd44:0:0:1::2", "nobody"} {
		to, from, err := Resolve(s, control.Tunnel{Host: host, HostPort: 80})
		got[host] = fmt.Sprint(to, " ", from)
		if err != nil {
			got[host] = err.Error()
		}
	}
	want := map[string]string{
		"node-2":        "10.89.0.12:80 /outside",
		"node-1":        "10.89.0.11:80 /outside",
		"10.89.0.200":   "10.89.0.200:80 /outside",
		"10.96.0.10":    "10.96.0.10:80 /node-2", // node-1 is off
		"fd44:0:0:1::2": "[fd44:0:0:1::2]:80 /node-2",
		"nobody":        `"nobody" is neither an address nor a machine of lab x`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Both directions are relayed, one end closing for writing included.
func TestServe(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	go func() {
		conn, err := inner.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		asked, _ := io.ReadAll(conn)
		fmt.Fprint(conn, strings.ToUpper(string(asked)))
	}()
	outer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{listener: outer, dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", inner.Addr().String())
	}}
	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, func(err error) { t.Error(err) }) }()

	conn, err := net.Dial("tcp", outer.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "question"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "QUESTION" {
		t.Errorf("%q: %v", answer, err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", outer.Addr().String()); err == nil {
		t.Error("still listens")
	}
}
