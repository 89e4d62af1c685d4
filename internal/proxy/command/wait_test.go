package command

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestWaitUntilReady(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			http.Error(w, "no listeners yet", http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	if err := wait(t.Context(), s.URL, time.Minute); err != nil || asked.Load() != 3 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

func TestWaitForNothing(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no listeners yet", http.StatusServiceUnavailable)
	}))
	defer s.Close()
	if err := wait(t.Context(), s.URL, 2*time.Second); err == nil || !strings.Contains(err.Error(), "no listeners yet") {
		t.Errorf("%v", err)
	}
}
