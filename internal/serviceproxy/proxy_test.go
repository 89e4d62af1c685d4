package serviceproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/conntrack"
	"github.com/weftmesh/weft/internal/serviceproxy/fake"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func name(s string) model.ServiceName { return model.ServiceName{Namespace: "shop", Name: s} }

// key reads "UDP 10.96.0.1:53", or "TCP :30080" for an IPv4 node port.
func key(s string) plan.Key {
	var proto, at string
	if _, err := fmt.Sscan(s, &proto, &at); err != nil {
		panic(err)
	}
	p, _ := model.ParseProtocol(proto)
	if at[0] == ':' {
		k := key(proto + " 10.0.0.0" + at)
		k.Addr = netip.Addr{}
		return k
	}
	a := netip.MustParseAddrPort(at)
	return plan.Key{Addr: a.Addr(), Family: plan.FamilyOf(a.Addr()), Protocol: p, Port: a.Port()}
}

func frontend(svc, k string, endpoints ...string) *plan.Frontend {
	f := &plan.Frontend{Key: key(k), Service: name(svc)}
	if f.NodePort() {
		f.Kind = plan.NodePort
	}
	for _, e := range endpoints {
		f.Endpoints = append(f.Endpoints, netip.MustParseAddrPort(e))
	}
	return f
}

func service(svc string, frontends ...*plan.Frontend) Change {
	return Change{name(svc), &plan.Service{Name: name(svc), Frontends: frontends}}
}

func removed(svc string) Change { return Change{Name: name(svc)} }

// web is a Service with one TCP frontend.
func web(endpoints ...string) Change {
	return service("web", frontend("web", "TCP 10.96.0.1:80", endpoints...))
}

// calls describes what a kernel was told since the last time, as "restore 2 frontends" or "set KEY" and "delete KEY".
type kernel struct {
	*fake.Kernel
	seen int
}

func (k *kernel) calls() (out [][]string) {
	all := k.Calls()
	for _, c := range all[k.seen:] {
		var lines []string
		if c.Restore {
			lines = append(lines, fmt.Sprintf("restore %d", c.Frontends))
		}
		for _, f := range c.Diff.Set {
			lines = append(lines, "set "+describe(f.Key))
		}
		for _, d := range c.Diff.Delete {
			lines = append(lines, "delete "+describe(d))
		}
		out = append(out, lines)
	}
	k.seen = len(all)
	return out
}

func (k *kernel) expect(t *testing.T, want ...[]string) {
	t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, k.calls()); diff != "" {
		t.Errorf("what the kernel was told (-want +got):\n%s", diff)
	}
}

func did(lines ...string) []string { return lines }

// start runs a Proxy onto a kernel; stop ends it.
func start(t *testing.T, k *kernel, opts Options) (p *Proxy, stop func()) {
	t.Helper()
	opts.Backend, opts.Log = k.Open(), quiet
	p, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return p, stop
}

func newKernel() *kernel { return &kernel{Kernel: fake.NewKernel()} }

func TestNothingIsProgrammedBeforeTheSourcesAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		p, stop := start(t, k, Options{AuditInterval: time.Minute})
		defer stop()
		p.Update(1, []Change{web("10.1.0.1:80")})
		time.Sleep(time.Hour)
		k.expect(t)
		if got := p.Status().Source; got != SourceNone {
			t.Errorf("source = %q, want none", got)
		}
		p.Full()
		k.expect(t, did("restore 1", "set TCP 10.96.0.1:80"))
		st := p.Status()
		if st.Source != SourceLive || st.Revision != 1 || st.Frontends != 1 || st.Endpoints != 1 || !st.WaitingSince.IsZero() {
			t.Errorf("status = %+v", st)
		}
	})
}

func TestAnEmptyClusterIsProgrammedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		p, stop := start(t, k, Options{})
		defer stop()
		p.Full()
		k.expect(t, did("restore 0"))
		if !p.healthy() {
			t.Error("not healthy")
		}
	})
}

func TestUpdates(t *testing.T) {
	const vip, vip2, port = "TCP 10.96.0.1:80", "TCP 10.96.0.2:80", "TCP :30080"
	a := service("a", frontend("a", vip, "10.1.0.1:80"), frontend("a", port, "10.1.0.1:80"))
	b := service("b", frontend("b", vip2, "10.1.0.2:80"))
	aWithout := service("a", frontend("a", vip, "10.1.0.1:80"))
	bWith := service("b", frontend("b", vip2, "10.1.0.2:80"), frontend("b", port, "10.1.0.2:80"))
	for _, c := range []struct {
		name    string
		updates [][]Change // each flushed before the next
		want    [][]string
	}{
		{"an endpoint comes", [][]Change{{service("b", frontend("b", vip2, "10.1.0.2:80", "10.1.0.3:80"))}}, [][]string{{"set TCP 10.96.0.2:80"}}},
		{"the same again", [][]Change{{a, b}}, nil},
		{"an equal copy", [][]Change{{service("b", frontend("b", vip2, "10.1.0.2:80"))}}, nil},
		{"a Service goes", [][]Change{{removed("a")}}, [][]string{{"delete TCP 10.96.0.1:80", "delete TCP node port 30080 (IPv4)"}}},
		{"what is not there goes", [][]Change{{removed("c")}}, nil},
		{"goes and comes back at once", [][]Change{{removed("b"), b}}, nil},
		{"a key changes hands in one commit", [][]Change{{aWithout, bWith}}, [][]string{{"set TCP node port 30080 (IPv4)"}}},
		{"a key changes hands in one commit, other way round", [][]Change{{bWith, aWithout}}, [][]string{{"set TCP node port 30080 (IPv4)"}}},
		{"a key changes hands, let go first", [][]Change{{aWithout}, {bWith}},
			[][]string{{"delete TCP node port 30080 (IPv4)"}, {"set TCP node port 30080 (IPv4)"}}},
		{"a key changes hands, taken first", [][]Change{{bWith}, {aWithout}}, [][]string{{"set TCP node port 30080 (IPv4)"}}},
		{"a claim that comes to nothing", [][]Change{{bWith}, {b}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKernel()
				p, stop := start(t, k, Options{})
				defer stop()
				p.Update(1, []Change{a, b})
				p.Full()
				synctest.Wait()
				k.calls()
				for _, changes := range c.updates {
					p.Update(2, changes)
					synctest.Wait()
				}
				k.expect(t, c.want...)
				for key, f := range k.Frontends() {
					if want := p.live.frontends[key]; want == nil || !want.Equal(f) {
						t.Errorf("kernel holds %v, want %v", f, want)
					}
				}
			})
		})
	}
}

func TestWhatComesDuringAFlushGoesIntoTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		p, stop := start(t, k, Options{})
		defer stop()
		p.Full()
		k.expect(t, did("restore 0"))
		release := k.Hold()
		p.Update(1, []Change{web("10.1.0.1:80")})
		synctest.Wait()
		for i := range 5 {
			p.Update(uint64(2+i), []Change{web(fmt.Sprintf("10.1.0.%d:80", 2+i)), service("b", frontend("b", "TCP 10.96.0.2:80", "10.1.0.9:80"))})
		}
		p.Update(7, []Change{removed("b")})
		release()
		k.expect(t, did("set TCP 10.96.0.1:80"), did("set TCP 10.96.0.1:80"))
		if got := p.Status().Revision; got != 7 {
			t.Errorf("revision in force = %d, want 7", got)
		}
	})
}

func TestMinInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		p, stop := start(t, k, Options{MinInterval: time.Second})
		defer stop()
		p.Full()
		k.expect(t, did("restore 0"))
		p.Update(1, []Change{web("10.1.0.1:80")})
		time.Sleep(time.Second - 1)
		p.Update(2, []Change{web("10.1.0.2:80")})
		k.expect(t)
		time.Sleep(1)
		k.expect(t, did("set TCP 10.96.0.1:80"))
		time.Sleep(time.Hour)
		p.Update(3, []Change{web("10.1.0.3:80")})
		k.expect(t, did("set TCP 10.96.0.1:80"))
	})
}

func TestFailureIsRepairedByRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		p, stop := start(t, k, Options{RetryMin: time.Second, RetryMax: 3 * time.Second})
		defer stop()
		p.Update(1, []Change{web("10.1.0.1:80"), service("b", frontend("b", "TCP 10.96.0.2:80"))})
		p.Full()
		k.expect(t, did("restore 2", "set TCP 10.96.0.1:80", "set TCP 10.96.0.2:80"))
		broken := errors.New("no buffer space")
		k.Fail(broken, broken, broken, broken)
		p.Update(2, []Change{web("10.1.0.2:80"), removed("b")})
		synctest.Wait()
		k.calls()
		since := p.Status().WaitingSince
		for _, wait := range []time.Duration{1, 2, 3} {
			if st := p.Status(); st.LastError != broken.Error() || st.WaitingSince != since || since.IsZero() {
				t.Errorf("status = %+v", st)
			}
			p.Update(3, []Change{service("c", frontend("c", "TCP 10.96.0.3:80"))}) // does not hurry it
			time.Sleep(wait*time.Second - 1)
			k.expect(t)
			time.Sleep(1)
			synctest.Wait()
			if n := len(k.calls()); n != 1 {
				t.Errorf("%d calls after %d s, want 1", n, wait)
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		got := k.Frontends()
		if len(got) != 2 || got[key("TCP 10.96.0.1:80")].Endpoints[0].String() != "10.1.0.2:80" || got[key("TCP 10.96.0.3:80")] == nil {
			t.Errorf("kernel holds %v", got)
		}
		if st := p.Status(); st.Failures != 0 || !st.WaitingSince.IsZero() || st.Frontends != 2 {
			t.Errorf("status = %+v", st)
		}
		k.calls()
		p.Update(4, []Change{removed("c")})
		k.expect(t, did("delete TCP 10.96.0.3:80"))
	})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		var told [][]string
		p, stop := start(t, k, Options{AuditInterval: time.Hour, OnRefused: func(list []Refused) {
			lines := []string{}
			for _, r := range list {
				lines = append(lines, fmt.Sprintf("%v %s: %v", r.Frontend.Service, describe(r.Frontend.Key), r.Err))
			}
			told = append(told, lines)
		}})
		defer stop()
		bad := key("TCP 10.96.0.1:80")
		k.Refuse(bad, errors.New("no"))
		p.Update(1, []Change{web("10.1.0.1:80"), service("b", frontend("b", "TCP 10.96.0.2:80"))})
		p.Full()
		k.expect(t, did("restore 2", "set TCP 10.96.0.1:80", "set TCP 10.96.0.2:80"))
		if st := p.Status(); st.Frontends != 1 || len(st.Refused) != 1 || st.Failures != 0 {
			t.Errorf("status = %+v", st)
		}

		p.Update(2, []Change{service("b", frontend("b", "TCP 10.96.0.2:80", "10.1.0.9:80"))})
		k.expect(t, did("set TCP 10.96.0.2:80")) // without the refused one
		p.Update(3, []Change{web("10.1.0.2:80")})
		k.expect(t, did("set TCP 10.96.0.1:80")) // it changed
		k.Refuse(bad, nil)
		time.Sleep(time.Hour)
		k.expect(t, did("restore 2", "set TCP 10.96.0.1:80"))
		if st := p.Status(); st.Frontends != 2 || len(st.Refused) != 0 {
			t.Errorf("status = %+v", st)
		}

		k.Refuse(bad, errors.New("never"))
		p.Update(4, []Change{web("10.1.0.3:80")})
		synctest.Wait()
		p.Update(5, []Change{removed("web")})
		synctest.Wait()
		want := [][]string{{"shop/web TCP 10.96.0.1:80: no"}, {}, {"shop/web TCP 10.96.0.1:80: never"}, {}}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("OnRefused was told (-want +got):\n%s", diff)
		}
		if got := p.Refused(); len(got) != 0 {
			t.Errorf("still refused: %v", got)
		}
	})
}

func TestAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		p, stop := start(t, k, Options{AuditInterval: 10 * time.Minute})
		defer stop()
		p.Update(1, []Change{web("10.1.0.1:80")})
		p.Full()
		synctest.Wait()
		k.calls()
		time.Sleep(10*time.Minute - 1)
		k.expect(t)
		time.Sleep(1)
		k.expect(t, did("restore 1")) // which changed nothing
		k.Lose()
		time.Sleep(10 * time.Minute)
		k.expect(t, did("restore 1", "set TCP 10.96.0.1:80"))
	})
}

// flows records what it is asked to clean.
type flows struct {
	asked []plan.Diff
	err   error
}

func (f *flows) Clean(_ context.Context, diff *plan.Diff) (conntrack.Result, error) {
	f.asked = append(f.asked, *diff)
	return conntrack.Result{}, f.err
}

func (f *flows) take() (out []string) {
	for _, d := range f.asked {
		for _, s := range d.Set {
			out = append(out, describe(s.Key))
		}
		for _, k := range d.Delete {
			out = append(out, "no more "+describe(k))
		}
	}
	f.asked = nil
	slices.Sort(out)
	return out
}

func TestStaleFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, fl := newKernel(), &flows{}
		p, stop := start(t, k, Options{Flows: fl, AuditInterval: time.Hour})
		defer stop()
		dns := func(endpoints ...string) Change {
			return service("dns", frontend("dns", "UDP 10.96.0.10:53", endpoints...), frontend("dns", "TCP 10.96.0.10:53", endpoints...))
		}
		other := service("other", frontend("other", "UDP 10.96.0.11:53", "10.1.0.9:53"))
		expect := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, fl.take()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		p.Update(1, []Change{dns("10.1.0.1:53"), other})
		p.Full()
		expect("at start: all", "TCP 10.96.0.10:53", "UDP 10.96.0.10:53", "UDP 10.96.0.11:53")
		p.Update(2, []Change{dns("10.1.0.1:53", "10.1.0.2:53")})
		expect("an endpoint came")
		p.Update(3, []Change{dns("10.1.0.2:53")})
		expect("an endpoint went", "UDP 10.96.0.10:53")
		time.Sleep(time.Hour)
		expect("an audit that found all right")
		fl.err = errors.New("interrupted")
		p.Update(4, []Change{removed("dns")})
		expect("a Service went", "no more UDP 10.96.0.10:53")
		fl.err = nil
		p.Update(5, []Change{web("10.1.0.1:80")})
		expect("after a failure: all", "TCP 10.96.0.1:80", "UDP 10.96.0.11:53", "no more UDP 10.96.0.10:53")
		p.Update(6, []Change{web("10.1.0.2:80")})
		expect("TCP alone")
		k.Refuse(key("UDP 10.96.0.11:53"), errors.New("no"))
		p.Update(7, []Change{service("other", frontend("other", "UDP 10.96.0.11:53", "10.1.0.8:53"))})
		expect("a change that was refused")
	})
}

func TestLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		p, stop := start(t, k, Options{})
		defer stop()
		p.Update(1, []Change{web("10.1.0.1:80")})
		p.Full()
		synctest.Wait()
		if lines, err := p.Lookup(t.Context(), key("TCP 10.96.0.1:80")); err != nil || len(lines) != 1 {
			t.Errorf("Lookup = %q, %v", lines, err)
		}
		release := k.Hold()
		defer release()
		p.Update(2, []Change{web("10.1.0.2:80")})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Lookup(ctx, key("TCP 10.96.0.1:80")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lookup while the kernel hangs: %v", err)
		}
	})
}
