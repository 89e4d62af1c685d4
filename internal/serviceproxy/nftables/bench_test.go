package nftables_test

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/serviceproxy/behaviour"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// cpu gives what this process has spent: in its own code, and in the kernel for it.
func cpu(b *testing.B) (user, system time.Duration) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}

// measure runs f b.N times and reports processor time beside the rest.
func measure(b *testing.B, f func(i int)) {
	b.ReportAllocs()
	u0, s0 := cpu(b)
	i := 0
	for b.Loop() {
		f(i)
		i++
	}
	u1, s1 := cpu(b)
	b.ReportMetric(float64(u1-u0)/float64(b.N), "user-ns/op")
	b.ReportMetric(float64(s1-s0)/float64(b.N), "sys-ns/op")
}

func must(b *testing.B, r plan.Result, err error) {
	if err != nil || len(r.Refused) > 0 {
		b.Fatal(r.Refused, err)
	}
}

const manyServices = 10_000

// BenchmarkRestoreFull programs 10,000 frontends with 2 endpoints each into an empty namespace.
func BenchmarkRestoreFull(b *testing.B) {
	n := behaviour.NewNetNS(b, "node")
	all := services(manyServices, 2)
	be := open(b, n)
	measure(b, func(int) {
		b.StopTimer()
		r, err := be.Restore(context.Background(), nil)
		must(b, r, err)
		b.StartTimer()
		r, err = be.Restore(context.Background(), all)
		must(b, r, err)
	})
}

// BenchmarkRestoreAdopt takes over 10,000 frontends that are all right.
func BenchmarkRestoreAdopt(b *testing.B) {
	n := behaviour.NewNetNS(b, "node")
	all := services(manyServices, 2)
	be := open(b, n)
	r, err := be.Restore(context.Background(), all)
	must(b, r, err)
	measure(b, func(int) {
		r, err := be.Restore(context.Background(), all)
		must(b, r, err)
	})
}

// BenchmarkApplyOne changes one endpoint of one frontend among 10,000.
func BenchmarkApplyOne(b *testing.B) { benchmarkApply(b, 1) }

// BenchmarkApplyThousand changes one endpoint of each of 1,000 frontends among 10,000, in one call.
func BenchmarkApplyThousand(b *testing.B) { benchmarkApply(b, 1000) }

func benchmarkApply(b *testing.B, changes int) {
	n := behaviour.NewNetNS(b, "node")
	all := services(manyServices, 2)
	be := open(b, n)
	r, err := be.Restore(context.Background(), all)
	must(b, r, err)
	var diffs [2]plan.Diff
	for i := range changes {
		other := *all[i*7]
		other.Endpoints = append(other.Endpoints[:1:1], endpoint(other.Family, 60000+i))
		diffs[0].Set = append(diffs[0].Set, &other)
		diffs[1].Set = append(diffs[1].Set, all[i*7])
	}
	measure(b, func(i int) {
		r, err := be.Apply(context.Background(), &diffs[i%2])
		must(b, r, err)
	})
}
