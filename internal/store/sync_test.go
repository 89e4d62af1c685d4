package store_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/internal/store"
)

func TestSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.New(nil)
		same(t, "no source", s.Synced(), false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Wait(ctx); err == nil || !strings.Contains(err.Error(), "no source") {
			t.Error(err)
		}
		api, folder := s.Source("api"), s.Source("folder")
		api.Expect("Service", "Node")
		folder.Expect("Service")
		done := make(chan error, 1)
		go func() { done <- s.Wait(t.Context()) }()
		api.MarkSynced("Service")
		folder.MarkSynced("Service")
		api.Expect("Service") // stays synced
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatal("full without Nodes", err)
		default:
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Wait(ctx); err == nil || !strings.Contains(err.Error(), "first list of Node from api") {
			t.Error(err)
		}
		api.MarkSynced("Node")
		same(t, "waited", <-done, error(nil))
		same(t, "full", s.Synced(), true)
	})
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.api.Expect("Thing", "Node")
		f.api.MarkSynced("Thing")
		first := f.api.Commit(func(tx *store.Tx) {
			f.things.Put(tx, &thing{Name: "x"})
			tx.At("resourceVersion 7")
		})
		time.Sleep(time.Minute) // the bubble's own clock
		second := f.api.Commit(func(tx *store.Tx) {})
		same(t, "counts", second, first+1)
		same(t, "status", f.Status(), store.Status{
			Rev: second,
			Sources: []store.SourceStatus{
				{Name: "api", Rev: second, LastCommit: time.Now(), Position: "resourceVersion 7", Kinds: []string{"Thing"}, WaitingFor: []string{"Node"}},
				{Name: "folder"},
			},
		})
	})
}
