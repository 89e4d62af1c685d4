package dns

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/weftmesh/weft/internal/dns/wire"
)

// transport is how a query came.
type transport struct {
	tcp  bool
	ipv6 bool
}

// worker answers one query after another.
type worker struct {
	server *Server
	count  *counters
	query  wire.Query
	msg    wire.Message
	out    []byte
}

// zones by which queries are counted.
const (
	inCluster = iota
	inReverse
	elsewhere
	zoneCount
)

// handle answers a packet in buf. No reply is nil; later says that an upstream has to be asked, which [worker.resolve] does. It never
// panics: what does costs one query.
func (w *worker) handle(packet, buf []byte, via transport, start time.Time) (reply []byte, later bool) {
	defer w.recover(packet, buf, &reply, &later)
	q := &w.query
	verdict := q.Parse(packet)
	if verdict == wire.Drop {
		w.count.dropped.Add(1)
		return nil, false
	}
	limit := w.limit(via)
	in, code := elsewhere, wire.Success
	switch {
	case verdict == wire.Malformed:
		code = wire.FormErr
	case verdict == wire.Unimplemented:
		code = wire.NotImp
	case verdict == wire.UnknownEDNS:
		code = wire.BadVers
	case q.Class != wire.ClassIN || q.Type == wire.TypeAXFR || q.Type == wire.TypeIXFR || q.Type == wire.TypeOPT:
		code = wire.Refused
	}
	if code != wire.Success {
		reply = w.refuse(buf, limit, code)
	} else {
		reply, in, later = w.answer(buf, limit)
	}
	if reply != nil {
		w.count.done(via, in, q.Type, reply, time.Since(start))
	}
	return reply, later
}

// limit is how large the answer may be.
func (w *worker) limit(via transport) int {
	if via.tcp {
		return wire.MaxMessage
	}
	return int(min(w.query.UDPSize, w.server.config.UDPSize))
}

// refuse writes an answer without records.
func (w *worker) refuse(buf []byte, limit int, code wire.Code) []byte {
	if !w.msg.Begin(buf, limit, &w.query, w.server.config.UDPSize) {
		return nil
	}
	return w.msg.End(code, wire.FlagRA)
}

// answer answers from what is known here.
func (w *worker) answer(buf []byte, limit int) (reply []byte, in int, later bool) {
	s, q, m := w.server, &w.query, &w.msg
	if !m.Begin(buf, limit, q, s.config.UDPSize) {
		return nil, elsewhere, false
	}
	res := s.zone.Answer(q, m)
	switch {
	case !res.Ours && s.fwd == nil:
		return w.refuse(buf, limit, wire.Refused), elsewhere, false
	case !res.Ours:
		reply = s.fwd.Cached(q, m, buf, limit)
		return reply, elsewhere, reply == nil
	case res.Reverse:
		in = inReverse
	}
	if !s.ready.Load() {
		return w.refuse(buf, limit, wire.ServFail), in, false
	}
	if res.Chase != "" && s.fwd != nil && !m.Truncated() {
		return nil, in, true
	}
	return m.End(res.Code, wire.FlagAA|wire.FlagRA), in, false
}

// resolve answers a packet that handle left for later, in buf.
func (w *worker) resolve(ctx context.Context, packet, buf []byte, via transport, start time.Time) (reply []byte) {
	var later bool
	defer w.recover(packet, buf, &reply, &later)
	s, q, m := w.server, &w.query, &w.msg
	if q.Parse(packet) != wire.Answer {
		return nil
	}
	limit := w.limit(via)
	if !m.Begin(buf, limit, q, s.config.UDPSize) {
		return nil
	}
	in := elsewhere
	switch res := s.zone.Answer(q, m); {
	case !res.Ours:
		reply = s.fwd.Resolve(ctx, q, m, buf, limit)
	case res.Chase == "": // the zone has changed meanwhile
		in = inCluster
		reply = m.End(res.Code, wire.FlagAA|wire.FlagRA)
	default:
		in = inCluster
		reply = w.chase(ctx, res.Chase)
	}
	if reply != nil {
		w.count.done(via, in, q.Type, reply, time.Since(start))
	}
	return reply
}

// chase adds what others say of the name an alias leads to. If they cannot be asked the alias stands alone, as CoreDNS has it.
func (w *worker) chase(ctx context.Context, name string) []byte {
	records, code, err := w.server.fwd.Lookup(ctx, name, w.query.Type)
	if err != nil {
		code = wire.Success
	}
	w.msg.Section(wire.AnswerSection)
	for _, r := range records {
		if !w.msg.Raw(r) {
			break
		}
	}
	return w.msg.End(code, wire.FlagRA)
}

// recover turns a panic into SERVFAIL for the query that caused it.
func (w *worker) recover(packet, buf []byte, reply *[]byte, later *bool) {
	r := recover()
	if r == nil {
		return
	}
	w.count.panics.Add(1)
	w.server.log.Error("query caused a panic", "query", fmt.Sprintf("%x", packet), "panic", r, "stack", string(debug.Stack()))
	*reply, *later = nil, false
	if len(packet) >= wire.HeaderLen && len(buf) >= wire.HeaderLen {
		*reply = append(buf[:0], packet[0], packet[1], packet[2]&0x79|0x80, byte(wire.ServFail), 0, 0, 0, 0, 0, 0, 0, 0)
	}
}

// overload answers a query for which there is no place to wait.
func (w *worker) overload(packet, buf []byte, via transport, start time.Time) []byte {
	if w.query.Parse(packet) != wire.Answer {
		return nil
	}
	reply := w.refuse(buf, w.limit(via), wire.ServFail)
	if reply != nil {
		w.count.done(via, elsewhere, w.query.Type, reply, time.Since(start))
	}
	return reply
}

// later answers a packet that has to wait for an upstream, with a goroutine of its own. send is called once, with the answer after room for
// its length, which it may not keep, or with nil if there is none. The packet is the callee's. It gives false, and does nothing, if too many
// wait already.
func (s *Server) later(ctx context.Context, packet []byte, via transport, start time.Time, send func(framed []byte)) bool {
	select {
	case s.pending <- struct{}{}:
	default:
		s.rest.overloaded.Add(1)
		return false
	}
	s.waiting.Go(func() {
		defer func() { <-s.pending }()
		w := s.workers.Get().(*worker)
		defer s.workers.Put(w)
		if reply := w.resolve(ctx, packet, w.out[framing:], via, start); reply != nil {
			send(w.out[:framing+len(reply)])
		} else {
			send(nil)
		}
	})
	return true
}
