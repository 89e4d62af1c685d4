package status

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/weftmesh/weft/internal/finding"
)

var (
	web   = finding.Object{Kind: "Service", Namespace: "shop", Name: "web"}
	slice = finding.Object{Kind: "EndpointSlice", Namespace: "shop", Name: "web-1"}
	n1    = finding.Object{Kind: "Node", Name: "n1"}
)

func eventsAPI() *api {
	return newAPI(service("web"),
		&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "uid-of-slice"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-of-node"}})
}

func newEvents(t *testing.T, a *api) *Events {
	t.Helper()
	e, err := NewEvents(EventsOptions{Client: a, Instance: "weft-control-0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func warn(o finding.Object, message string) finding.Finding {
	return finding.Finding{Object: o, Field: "spec.ports[0]", Severity: finding.Warning, Code: "node-port-taken", Message: message}
}

// told lists the Events: "namespace Kind/name apiVersion uid fieldPath type reason count: message".
func (a *api) told(t *testing.T) (out []string) {
	t.Helper()
	list, err := a.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		o := e.InvolvedObject
		if e.Source.Component != "weft" || e.ReportingController != "weft" || e.ReportingInstance == "" || o.Namespace != "" && o.Namespace != e.Namespace {
			t.Errorf("%+v", e)
		}
		out = append(out, fmt.Sprintf("%s %s/%s %s %s %s %s %s %d: %s", e.Namespace, o.Kind, o.Name, o.APIVersion, o.UID, o.FieldPath, e.Type, e.Reason, e.Count, e.Message))
	}
	return out
}

func TestEventOfEachKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := eventsAPI()
		e := newEvents(t, a)
		e.Set(web, []finding.Finding{warn(web, "taken"), {Object: web, Severity: finding.Info, Code: "info", Message: "only worth knowing"}})
		e.Set(slice, []finding.Finding{warn(slice, "taken")})
		e.Set(n1, []finding.Finding{warn(n1, "taken")})
		for _, o := range []finding.Object{{Kind: "Pool", Name: "10.0.0.1"}, {Kind: "Service", Namespace: "shop", Name: "not-there"}} {
			e.Set(o, []finding.Finding{warn(o, "taken")})
		}
		stop := start(e.Run)
		synctest.Wait()
		stop()
		want := []string{
			"default Node/n1 v1 uid-of-node spec.ports[0] Warning NodePortTaken 1: taken",
			"shop EndpointSlice/web-1 discovery.k8s.io/v1 uid-of-slice spec.ports[0] Warning NodePortTaken 1: taken",
			"shop Service/web v1 uid-of-service spec.ports[0] Warning NodePortTaken 1: taken",
		}
		got := a.told(t)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

func TestEventIsNotRepeatedWhileTheFindingStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := eventsAPI()
		e := newEvents(t, a)
		stop := start(e.Run)
		count := func(want ...string) {
			t.Helper()
			synctest.Wait()
			time.Sleep(time.Minute)
			var got []string
			for _, s := range a.told(t) {
				got = append(got, s[strings.Index(s, "NodePortTaken ")+len("NodePortTaken "):])
			}
			slices.Sort(got)
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		}
		e.Set(web, []finding.Finding{warn(web, "a")})
		count("1: a")
		e.Set(web, []finding.Finding{warn(web, "a"), warn(web, "b")})
		count("1: a", "1: b")
		e.Set(web, []finding.Finding{warn(web, "b")})
		count("1: a", "1: b")

		// Another leads, and finds the same.
		stop()
		other := newEvents(t, a)
		other.Set(web, []finding.Finding{warn(web, "b")})
		stopOther := start(other.Run)
		count("1: a", "1: b")
		// It leads again itself.
		stopOther()
		stop = start(e.Run)
		count("1: a", "1: b")

		e.Set(web, []finding.Finding{warn(web, "a"), warn(web, "b")}) // a is back
		count("1: b", "2: a")
		e.Set(web, nil)
		count("1: b", "2: a")
		stop()
	})
}

func TestEventsOfWhatHasGoneMeanwhileAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := eventsAPI()
		a.setAway(true)
		e := newEvents(t, a)
		stop := start(e.Run)
		e.Set(web, []finding.Finding{warn(web, "passing"), warn(web, "staying")})
		time.Sleep(time.Hour)
		e.Set(web, []finding.Finding{warn(web, "staying")})
		a.setAway(false)
		time.Sleep(2 * time.Minute)
		stop()
		if got := a.told(t); len(got) != 1 || !strings.Contains(got[0], "staying") {
			t.Error(got)
		}
	})
}

func TestRefusedEventHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := eventsAPI()
		a.PrependReactor("create", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
			if strings.Contains(action.(clienttesting.CreateAction).GetObject().(*corev1.Event).Message, "first") {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "x", fmt.Errorf("the namespace ends"))
			}
			return false, nil, nil
		})
		e := newEvents(t, a)
		stop := start(e.Run)
		e.Set(web, []finding.Finding{warn(web, "first")})
		e.Set(slice, []finding.Finding{warn(slice, "second")})
		synctest.Wait()
		stop()
		if got := a.told(t); len(got) != 1 || !strings.Contains(got[0], "second") {
			t.Error(got)
		}
	})
}

func TestEventRateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := eventsAPI()
		e := newEvents(t, a)
		var many []finding.Finding
		for i := range 100 {
			many = append(many, warn(web, fmt.Sprint("finding ", i)))
		}
		stop := start(e.Run)
		e.Set(web, many)
		synctest.Wait()
		if n := len(a.told(t)); n != 50 {
			t.Errorf("%d at once", n)
		}
		time.Sleep(30 * time.Second)
		stop()
		if n := len(a.told(t)); n != 100 {
			t.Errorf("%d in the end", n)
		}
	})
}

func TestReason(t *testing.T) {
	for code, want := range map[string]string{"pool-exhausted": "PoolExhausted", "taken": "Taken", "": "Finding", "--x--y2": "XY2"} {
		if got := reason(code); got != want {
			t.Errorf("%q gives %q", code, got)
		}
	}
}

func TestLongTextsFit(t *testing.T) {
	f := warn(finding.Object{Kind: "EndpointSlice", Namespace: "shop", Name: strings.Repeat("a", 231) + "..-bcdefghijklmnopqrst"}, strings.Repeat("ä", 2000))
	if m := message(f); len(m) > 1024 || !utf8.ValidString(m) || !strings.HasSuffix(m, "ä…") {
		t.Errorf("%d bytes: %s", len(m), m)
	}
	if n := eventName(f, "u"); len(n) > 253 || strings.Contains(n, "..") || strings.Contains(n, "-.") {
		t.Error(n)
	}
	if a, b := eventName(warn(web, "a"), "u"), eventName(warn(web, "a"), "v"); a == b {
		t.Error("an object and its successor share an Event")
	}
}
