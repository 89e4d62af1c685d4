package transport

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// Who asked to be told that the client is gone is told once, also if that was so already, and not after taking it back.
func TestOnGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told, taken atomic.Int64
		c, finish := pipe(t, func(s message.ServerStream) {
			if s.Request().Path == "/taken" {
				s.OnGone(func() { taken.Add(1) })
				s.OnGone(nil)
				<-s.Gone()
				return
			}
			if !s.OnGone(func() { told.Add(1) }) {
				t.Error("the connection cannot tell")
			}
			<-s.Gone()
			s.OnGone(func() { told.Add(10) })
		}, Options{}, Options{})
		defer finish()
		for _, path := range []string{"/told", "/taken"} {
			x, err := c.Start(get(path), message.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			x.Close(message.Cancelled)
		}
		synctest.Wait()
		if told.Load() != 11 || taken.Load() != 0 {
			t.Errorf("told %d times, and %d times after taking it back", told.Load(), taken.Load())
		}
	})
}
