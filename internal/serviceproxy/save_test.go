package serviceproxy

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

var comparable = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}, model.Origin{})

// keepPlan runs a Proxy that is told of these Services and writes them to a directory.
func keepPlan(t *testing.T, dir string, changes ...Change) {
	t.Helper()
	p, stop := start(t, newKernel(), Options{PlanDir: dir})
	p.Update(1, changes)
	p.Full()
	time.Sleep(time.Second)
	stop()
}

func TestPlanFromDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "node")
		gone := service("gone", frontend("gone", "TCP 10.96.0.3:80", "10.1.0.3:80"))
		keepPlan(t, dir, web("10.1.0.1:80"), service("b", frontend("b", "TCP 10.96.0.2:80")), gone)
		written := time.Now()

		time.Sleep(3 * time.Minute)
		k := newKernel()
		p, stop := start(t, k, Options{PlanDir: dir})
		defer stop()
		k.expect(t, did("restore 3", "set TCP 10.96.0.1:80", "set TCP 10.96.0.2:80", "set TCP 10.96.0.3:80"))
		st := p.Status()
		if st.Source != SourceDisk || st.Frontends != 3 || !st.PlanFile.Written.Equal(written) || !p.healthy() {
			t.Errorf("status = %+v, plan file %+v", st, st.PlanFile)
		}

		// Half of the Services are known: nothing may be withdrawn.
		p.Update(9, []Change{web("10.1.0.1:80")})
		k.expect(t)
		p.Update(10, []Change{service("b", frontend("b", "TCP 10.96.0.2:80", "10.1.0.2:80"))})
		k.expect(t)
		p.Full()
		k.expect(t, did("set TCP 10.96.0.2:80", "delete TCP 10.96.0.3:80"))
		if st := p.Status(); st.Source != SourceLive || st.Revision != 10 {
			t.Errorf("status = %+v", st)
		}
	})
}

func TestDiskWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		keepPlan(t, dir, web("10.1.0.1:80"))
		k := newKernel()
		_, stop := start(t, k, Options{PlanDir: dir, DiskWait: 2 * time.Second})
		time.Sleep(2*time.Second - 1)
		k.expect(t)
		time.Sleep(1)
		k.expect(t, did("restore 1", "set TCP 10.96.0.1:80"))
		stop()

		k = newKernel()
		p, stop := start(t, k, Options{PlanDir: dir, DiskWait: 2 * time.Second})
		defer stop()
		time.Sleep(time.Second)
		p.Update(1, []Change{web("10.1.0.7:80")})
		p.Full()
		time.Sleep(time.Minute)
		k.expect(t, did("restore 1", "set TCP 10.96.0.1:80")) // the disk's plan was never in force
		if got := k.Frontends()[key("TCP 10.96.0.1:80")].Endpoints[0].String(); got != "10.1.0.7:80" {
			t.Errorf("endpoint = %s", got)
		}
	})
}

func TestPlanFileIsWrittenSoonAndOnlyIfSomethingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p, stop := start(t, newKernel(), Options{PlanDir: dir})
		p.Update(1, []Change{web("10.1.0.1:80")})
		time.Sleep(time.Hour)
		if _, err := os.Stat(p.file.path()); err == nil {
			t.Fatal("half a plan was written")
		}
		p.Full()
		sizes := []int64{}
		size := func() {
			t.Helper()
			synctest.Wait()
			info, err := os.Stat(p.file.path())
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, info.Size())
		}
		time.Sleep(time.Second)
		size()
		p.Update(2, []Change{web("10.1.0.1:80")}) // the same
		time.Sleep(time.Second)
		size()
		p.Update(3, []Change{web("10.1.0.2:80")})
		p.Update(4, []Change{web("10.1.0.3:80")})
		time.Sleep(time.Second)
		size()
		if sizes[0] != sizes[1] || sizes[2] <= sizes[1] {
			t.Errorf("sizes = %v, want two equal and a bigger one", sizes)
		}
		p.Update(5, []Change{web("10.1.0.4:80")})
		stop() // before the moment is over
		saved, err := p.file.read()
		if err != nil {
			t.Fatal(err)
		}
		if got := saved.services[name("web")].Frontends[0].Endpoints[0].String(); got != "10.1.0.4:80" {
			t.Errorf("endpoint on disk = %s, want that of the last change", got)
		}
	})
}

func TestPlanFileThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "node")
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		k := newKernel()
		p, stop := start(t, k, Options{PlanDir: dir})
		defer stop()
		p.Update(1, []Change{web("10.1.0.1:80")})
		p.Full()
		k.expect(t, did("restore 1", "set TCP 10.96.0.1:80"))
		time.Sleep(time.Second)
		synctest.Wait()
		if st := p.Status(); st.PlanFile.Error == "" || st.Source != SourceLive {
			t.Errorf("status = %+v, plan file %+v", st, st.PlanFile)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := p.Status(); st.PlanFile.Error != "" || st.PlanFile.Written.IsZero() {
			t.Errorf("plan file %+v", st.PlanFile)
		}
	})
}

func TestDamagedPlanFile(t *testing.T) {
	dir := t.TempDir()
	f := &planFile{dir: dir}
	now := time.Unix(1_800_000_000, 0)
	of := func(c Change) map[model.ServiceName]*plan.Service {
		return map[model.ServiceName]*plan.Service{c.Name: c.Service}
	}
	if err := f.write(now, of(web("10.1.0.1:80")), true); err != nil {
		t.Fatal(err)
	}
	first := f.bytes
	if err := f.write(now.Add(time.Second), of(web("10.1.0.2:80")), false); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}
	flip := func(at int64) []byte {
		b := bytes.Clone(good)
		b[at] ^= 0x10
		return b
	}
	for name, c := range map[string]struct {
		data     []byte
		endpoint string // "": nothing usable
		damaged  bool
	}{
		"good":               {good, "10.1.0.2:80", false},
		"empty":              {nil, "", true},
		"of another version": {flip(10), "", true},
		"nothing follows":    {good[:len(planVersion)], "", true},
		"first broken":       {flip(first - 3), "", true},
		"first cut":          {good[:first-1], "", true},
		"second broken":      {flip(int64(len(good)) - 3), "10.1.0.1:80", true},
		"second cut":         {good[:len(good)-1], "10.1.0.1:80", true},
		"second cut early":   {good[:first+3], "10.1.0.1:80", true},
		"something follows":  {append(bytes.Clone(good), "rubbish that is long enough"...), "10.1.0.2:80", true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &planFile{dir: t.TempDir()}
			if err := os.WriteFile(f.path(), c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			saved, err := f.read()
			if (err != nil) != c.damaged {
				t.Errorf("error = %v, want one: %v", err, c.damaged)
			}
			if f.needsWhole() != c.damaged {
				t.Errorf("needsWhole = %v", f.needsWhole())
			}
			got := ""
			if saved != nil {
				got = saved.services[model.ServiceName{Namespace: "shop", Name: "web"}].Frontends[0].Endpoints[0].String()
			}
			if got != c.endpoint {
				t.Errorf("endpoint = %q, want %q", got, c.endpoint)
			}
		})
	}
	t.Run("damage found at start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "plan"), []byte("not a plan"), 0o600); err != nil {
				t.Fatal(err)
			}
			p, stop := start(t, newKernel(), Options{PlanDir: dir})
			defer stop()
			synctest.Wait()
			if st := p.Status(); st.Source != SourceNone || st.PlanFile.Error == "" {
				t.Errorf("status = %+v, plan file %+v", st, st.PlanFile)
			}
			p.Full()
			time.Sleep(time.Second)
			synctest.Wait()
			if st := p.Status(); st.PlanFile.Error != "" {
				t.Errorf("plan file %+v, want it written anew", st.PlanFile)
			}
		})
	})
}

func TestAppendFindsAnotherFile(t *testing.T) {
	f := &planFile{dir: t.TempDir()}
	if err := f.write(time.Now(), nil, true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path(), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.write(time.Now(), nil, false); err == nil || !f.needsWhole() {
		t.Errorf("appended to a file that is not ours: %v", err)
	}
}

// everything is a Service that uses all fields a plan has.
func everything() *plan.Service {
	origin := model.Origin{Object: finding.Object{Kind: "Service", Namespace: "shop", Name: "web"}, Field: "spec.ports[0]"}
	four := frontend("web", "TCP 10.96.0.1:80", "10.1.0.1:80", "10.1.0.2:80")
	four.Kind, four.PortName, four.Affinity, four.Origin = plan.LoadBalancerIP, "http", 3*time.Hour, origin
	four.SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	four.ExternalLocal, four.OnEmptyLocal, four.OnEmpty = true, plan.Drop, plan.Drop
	four.Local = []netip.AddrPort{netip.MustParseAddrPort("10.1.0.2:80")}
	six := frontend("web", "UDP [fd00::1]:80", "[fd01::1]:80")
	six.SourceRanges = []netip.Prefix{}
	six.Serving = []netip.AddrPort{netip.MustParseAddrPort("[fd01::1]:80"), netip.MustParseAddrPort("[fd01::2]:80")}
	port := frontend("web", "SCTP :30080")
	return &plan.Service{Name: name("web"), Frontends: []*plan.Frontend{four, six, port}, HealthCheck: plan.HealthCheck{Port: 32000, LocalEndpoints: 3}}
}

func TestPlanFileKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	want := map[model.ServiceName]*plan.Service{name("web"): everything()}
	if err := (&planFile{dir: dir}).write(time.Unix(1, 0), want, true); err != nil {
		t.Fatal(err)
	}
	got, err := (&planFile{dir: dir}).read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.services, comparable); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if !got.services[name("web")].Equal(want[name("web")]) {
		t.Error("not Equal")
	}
}

func FuzzDecodePlan(f *testing.F) {
	var buf bytes.Buffer
	buf.WriteString(planVersion)
	if err := encodeFrame(&buf, batch{Services: []serviceRecord{recordOf(name("web"), everything())}}); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add(buf.Bytes()[:buf.Len()-1])
	f.Add([]byte(planVersion))
	f.Fuzz(func(t *testing.T, data []byte) {
		saved, _, err := decodePlan(data)
		if saved == nil && err == nil {
			t.Error("neither a plan nor an error")
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(uint8(4), uint8(6), uint8(0), uint8(0), []byte{10, 0, 0, 1}, []byte{4, 10, 0, 0, 1, 0, 80}, "192.0.2.0/24")
	f.Fuzz(func(t *testing.T, family, proto, kind, verdict uint8, addr, endpoints []byte, ranges string) {
		r := frontendRecord{Family: family, Protocol: proto, Kind: kind, OnEmpty: verdict, Addr: addr, Endpoints: endpoints, Limited: true, SourceRanges: []string{ranges}}
		fe, err := r.frontend(name("web"))
		if err != nil {
			return
		}
		again := recordOf(name("web"), &plan.Service{Frontends: []*plan.Frontend{fe}})
		if !bytes.Equal(again.Frontends[0].Endpoints, endpoints) && len(endpoints) > 0 {
			t.Errorf("endpoints %x became %x", endpoints, again.Frontends[0].Endpoints)
		}
		_ = fmt.Sprint(fe.Kind, describe(fe.Key))
	})
}

func many(services, endpoints int) map[model.ServiceName]*plan.Service {
	out := map[model.ServiceName]*plan.Service{}
	for i := range services {
		n := name(fmt.Sprintf("service-%05d", i))
		f := &plan.Frontend{
			Key:     plan.Key{Addr: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), Family: plan.IPv4, Protocol: model.TCP, Port: 80},
			Service: n, PortName: "http", Origin: model.Origin{Object: finding.Object{Kind: "Service", Namespace: n.Namespace, Name: n.Name}, Field: "spec.ports[0]"},
		}
		for j := range endpoints {
			f.Endpoints = append(f.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(128 + j), byte(i >> 8), byte(i)}), 8080))
		}
		out[n] = &plan.Service{Name: n, Frontends: []*plan.Frontend{f}}
	}
	return out
}

func BenchmarkPlanFile(b *testing.B) {
	all := many(10_000, 20)
	one := many(1, 20)
	f := &planFile{dir: b.TempDir()}
	b.Run("write whole, 10,000 services of 20 endpoints", func(b *testing.B) {
		for b.Loop() {
			if err := f.write(time.Now(), all, true); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(f.bytes), "file-bytes")
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := f.read(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append one", func(b *testing.B) {
		before := f.bytes
		for b.Loop() {
			if err := f.write(time.Now(), one, false); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(f.bytes-before)/float64(b.N), "file-bytes/op")
	})
}
