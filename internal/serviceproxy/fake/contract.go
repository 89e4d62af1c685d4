package fake

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Contract runs what every plan.Backend has to keep. Open gives a new backend onto the same kernel each time it is called with the same test;
// it must start from an empty kernel for each test, and sees to closing.
//
// It looks at the kernel by Lookup alone: some lines and no error for what is in force, otherwise no lines or an error. That packets go where
// they should is for tests with packets.
func Contract(t *testing.T, open func(t *testing.T) plan.Backend) {
	t.Run("Restore puts everything in force, and is quiet when it is", func(t *testing.T) {
		b := open(t)
		all := examples()
		restore(t, b, all)
		inForce(t, b, all...)
		if r := restore(t, b, all); r.Elements != 0 {
			t.Errorf("a second Restore of the same changed %d elements", r.Elements)
		}
	})
	t.Run("Restore adopts what an earlier backend left", func(t *testing.T) {
		all := examples()
		restore(t, open(t), all)
		b := open(t)
		if r := restore(t, b, all); r.Elements != 0 {
			t.Errorf("Restore of what is in force changed %d elements", r.Elements)
		}
		set := with(all[0], "10.1.0.77:8080")
		apply(t, b, plan.Diff{Set: []*plan.Frontend{set}, Delete: []plan.Key{all[1].Key}})
		inForce(t, b, set)
		gone(t, b, all[1].Key)
	})
	t.Run("Restore removes what is too much", func(t *testing.T) {
		b := open(t)
		all := examples()
		restore(t, b, all)
		restore(t, b, all[:1])
		inForce(t, b, all[0])
		for _, f := range all[1:] {
			gone(t, b, f.Key)
		}
		restore(t, b, nil)
		gone(t, b, all[0].Key)
	})
	t.Run("Apply sets, changes and deletes", func(t *testing.T) {
		b := open(t)
		restore(t, b, nil)
		all := examples()
		for _, f := range all {
			apply(t, b, plan.Diff{Set: []*plan.Frontend{f}})
		}
		inForce(t, b, all...)
		if r := restore(t, b, all); r.Elements != 0 {
			t.Errorf("Restore of what Apply put in force changed %d elements", r.Elements)
		}
		for i, f := range all {
			empty := with(f)
			apply(t, b, plan.Diff{Set: []*plan.Frontend{empty}})
			apply(t, b, plan.Diff{Set: []*plan.Frontend{f}})
			if i%2 == 0 {
				apply(t, b, plan.Diff{Delete: []plan.Key{f.Key}})
				gone(t, b, f.Key)
			}
		}
		var left []*plan.Frontend
		for i, f := range all {
			if i%2 == 1 {
				left = append(left, f)
			}
		}
		inForce(t, b, left...)
		if r := restore(t, b, left); r.Elements != 0 {
			t.Errorf("Restore of what Apply left changed %d elements", r.Elements)
		}
	})
	t.Run("Apply of a whole plan, and its removal", func(t *testing.T) {
		b := open(t)
		restore(t, b, nil)
		all := examples()
		apply(t, b, plan.Diff{Set: all})
		inForce(t, b, all...)
		var keys []plan.Key
		for _, f := range all {
			keys = append(keys, f.Key)
		}
		apply(t, b, plan.Diff{Delete: keys})
		if r := restore(t, b, nil); r.Elements != 0 {
			t.Errorf("%d elements were left behind", r.Elements)
		}
	})
	t.Run("Apply of nothing does nothing", func(t *testing.T) {
		b := open(t)
		restore(t, b, examples())
		if r := apply(t, b, plan.Diff{}); r.Elements != 0 {
			t.Errorf("an empty diff changed %d elements", r.Elements)
		}
	})
	t.Run("deleting what is not there is no error", func(t *testing.T) { // it may have been refused
		b := open(t)
		all := examples()
		restore(t, b, all[:1])
		apply(t, b, plan.Diff{Delete: []plan.Key{all[1].Key}})
		inForce(t, b, all[0])
	})
	t.Run("a key can change hands", func(t *testing.T) {
		b := open(t)
		f := examples()[0]
		restore(t, b, []*plan.Frontend{f})
		other := with(f, "10.1.0.9:80")
		other.Service = model.ServiceName{Namespace: "elsewhere", Name: "web"}
		other.Kind = plan.ExternalIP
		apply(t, b, plan.Diff{Set: []*plan.Frontend{other}})
		inForce(t, b, other)
		if r := restore(t, b, []*plan.Frontend{other}); r.Elements != 0 {
			t.Errorf("Restore of what Apply put in force changed %d elements", r.Elements)
		}
	})
}

// examples are frontends of every sort, each with a key of its own.
func examples() []*plan.Frontend {
	svc := model.ServiceName{Namespace: "shop", Name: "web"}
	at := func(kind plan.Kind, proto model.Protocol, dial string, endpoints ...string) *plan.Frontend {
		a := netip.MustParseAddrPort(dial)
		f := &plan.Frontend{
			Key:  plan.Key{Addr: a.Addr(), Family: plan.FamilyOf(a.Addr()), Protocol: proto, Port: a.Port()},
			Kind: kind, Service: svc, Endpoints: addrPorts(endpoints),
		}
		if kind == plan.NodePort {
			f.Addr = netip.Addr{}
		}
		return f
	}
	sticky := at(plan.ClusterIP, model.TCP, "10.96.0.3:80", "10.1.0.1:80", "10.1.0.2:80")
	sticky.Affinity = 3 * time.Hour
	ranges := at(plan.LoadBalancerIP, model.TCP, "192.0.2.80:80", "10.1.0.1:80")
	ranges.SourceRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.7/32")}
	nobody := at(plan.LoadBalancerIP, model.TCP, "192.0.2.81:80", "10.1.0.1:80")
	nobody.SourceRanges = []netip.Prefix{}
	local := at(plan.NodePort, model.TCP, "0.0.0.0:30080", "10.1.0.1:80", "10.1.0.2:80")
	local.ExternalLocal, local.Local, local.OnEmptyLocal = true, addrPorts([]string{"10.1.0.2:80"}), plan.Drop
	localEmpty := at(plan.NodePort, model.TCP, "[::]:30080", "[fd01::1]:80")
	localEmpty.ExternalLocal, localEmpty.OnEmptyLocal = true, plan.Drop
	dropped := at(plan.ClusterIP, model.TCP, "10.96.0.5:80")
	dropped.OnEmpty = plan.Drop
	return []*plan.Frontend{
		at(plan.ClusterIP, model.TCP, "10.96.0.1:80", "10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"),
		at(plan.ClusterIP, model.UDP, "10.96.0.1:80", "10.1.0.1:8080"),
		at(plan.ClusterIP, model.TCP, "[fd00:96::1]:80", "[fd01::1]:8080", "[fd01::2]:8080"),
		at(plan.ClusterIP, model.UDP, "[fd00:96::1]:53", "[fd01::1]:53"),
		at(plan.ClusterIP, model.SCTP, "10.96.0.1:3868", "10.1.0.1:3868"),
		at(plan.ClusterIP, model.TCP, "10.96.0.2:443"), // nobody there
		dropped, sticky, ranges, nobody, local, localEmpty,
		at(plan.ExternalIP, model.TCP, "198.51.100.1:443", "10.1.0.1:8443"),
		at(plan.NodePort, model.UDP, "0.0.0.0:30053", "10.1.0.1:53"),
	}
}

// with gives a copy of a frontend that has these endpoints.
func with(f *plan.Frontend, endpoints ...string) *plan.Frontend {
	c := *f
	c.Endpoints = addrPorts(endpoints)
	return &c
}

func addrPorts(list []string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func restore(t *testing.T, b plan.Backend, frontends []*plan.Frontend) plan.Result {
	t.Helper()
	r, err := b.Restore(t.Context(), frontends)
	if err != nil {
		t.Fatalf("Restore: %v", err)
	}
	taken(t, r)
	return r
}

func apply(t *testing.T, b plan.Backend, diff plan.Diff) plan.Result {
	t.Helper()
	r, err := b.Apply(t.Context(), &diff)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	taken(t, r)
	return r
}

func taken(t *testing.T, r plan.Result) {
	t.Helper()
	for _, refused := range r.Refused {
		t.Errorf("refused %v: %v", refused.Key, refused.Err)
	}
}

func inForce(t *testing.T, b plan.Backend, frontends ...*plan.Frontend) {
	t.Helper()
	for _, f := range frontends {
		if lines, err := b.Lookup(t.Context(), f.Key); err != nil || len(lines) == 0 {
			t.Errorf("%v is not in force: Lookup gives %q, %v", f.Key, lines, err)
		}
	}
}

func gone(t *testing.T, b plan.Backend, key plan.Key) {
	t.Helper()
	if lines, err := b.Lookup(t.Context(), key); err == nil && len(lines) > 0 {
		t.Errorf("%v is still in force: %q", key, lines)
	}
}
