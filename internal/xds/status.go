package xds

import (
	"maps"
	"slices"
	"time"
)

// ProxyStatus is how one client is doing.
type ProxyStatus struct {
	Proxy string       `json:"proxy"` // namespace and Pod, or the fleet
	Fleet string       `json:"fleet"`
	Peer  string       `json:"peer"`
	Agent string       `json:"agent"` // what it says it is
	Since time.Time    `json:"since"`
	Types []TypeStatus `json:"types"` // those it asked for, in the order in which they are sent
}

// TypeStatus is how a client is doing with one type of resource. Versions stand for all its resources together; "" is none.
type TypeStatus struct {
	Type     string     `json:"type"` // "CDS", "EDS", ...
	Wanted   int        `json:"wanted"`
	Acked    int        `json:"acked"`
	Version  string     `json:"version"`      // that it should have
	Uses     string     `json:"ackedVersion"` // that it says it uses
	Pushed   time.Time  `json:"pushed,omitzero"`
	Rejected []Rejected `json:"rejected,omitempty"` // at most maxRejected
}

// Rejected is a resource that a client does not take, in the client's own words.
type Rejected struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// maxRejected is how many are told of each type.
const maxRejected = 10

// Synced tells whether the client uses what it should.
func (t TypeStatus) Synced() bool { return t.Version == t.Uses }

// publish makes the stream's state visible to others.
func (st *stream) publish() {
	s := &ProxyStatus{Proxy: st.client.String(), Fleet: st.client.Fleet.String(), Peer: st.peer, Agent: st.agent, Since: st.began}
	for _, c := range st.channels {
		if !c.asked {
			continue
		}
		t := TypeStatus{Type: c.kind.String(), Wanted: c.wanted.count, Acked: c.acked.count, Version: c.wanted.String(), Uses: c.acked.String(), Pushed: c.pushed}
		if len(c.rejected) > 0 {
			for _, name := range slices.Sorted(maps.Keys(c.rejected)) {
				if len(t.Rejected) == maxRejected {
					break
				}
				t.Rejected = append(t.Rejected, Rejected{name, c.entries[name].why})
			}
		}
		s.Types = append(s.Types, t)
	}
	st.status.Store(s)
}
