package upstream

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// pools is the connections to an endpoint over one transport. Where nothing of a request decides on the connection there is one pool; else one for
// each server name, or for each client that the PROXY protocol tells of.
type pools struct {
	endpoint  *Endpoint
	transport *transport
	draining  atomic.Bool
	one       *pool // of the zero key

	mu    sync.Mutex
	keyed map[key]*pool // at most maxPools; one more is used once and closed
}

const maxPools = 1024

func newPools(e *Endpoint, t *transport) *pools {
	p := &pools{endpoint: e, transport: t}
	p.one = newPool(p, key{})
	return p
}

// choose gives the pool whose connections may carry a request.
func (p *pools) choose(req *message.Request, pc *PickContext) *pool {
	k := p.transport.key(req, pc)
	if k == (key{}) {
		return p.one
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.keyed[k]; found != nil {
		return found
	}
	if len(p.keyed) >= maxPools {
		for old, q := range p.keyed {
			if q.idle() {
				q.drain()
				delete(p.keyed, old)
			}
		}
	}
	k.serverName = strings.Clone(k.serverName) // the request's buffer is another's soon
	q := newPool(p, k)
	if len(p.keyed) >= maxPools {
		q.drain()
		return q
	}
	if p.keyed == nil {
		p.keyed = map[key]*pool{}
	}
	p.keyed[k] = q
	if p.draining.Load() {
		q.drain()
	}
	return q
}

// key is what of a request decides on its connection.
func (t *transport) key(req *message.Request, pc *PickContext) (k key) {
	if t.tls != nil {
		k.serverName, k.identities = pc.ServerName, pc.Identities
		if k.serverName == "" && t.autoSNI && req != nil {
			k.serverName = hostOf(req, t.sniHeader)
		}
	}
	if t.proxy != 0 {
		k.source, k.local = pc.Source, pc.Local
	}
	return k
}

// hostOf is the name a request asks for, without the port; "" if that is an address, which SNI cannot carry.
func hostOf(req *message.Request, header string) string {
	host := req.Authority
	if header != "" {
		if v, ok := req.Fields.Get(header); ok && v != "" {
			host = v
		}
	}
	if strings.HasPrefix(host, "[") {
		return ""
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if isAddress(host) {
		return ""
	}
	return host
}

// isAddress tells whether a name is an IPv4 address: no top-level domain is a number.
func isAddress(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && last[0] >= '0' && last[0] <= '9'
}

// drain closes what is idle; what is in use is closed when it is done with.
func (p *pools) drain() {
	p.draining.Store(true)
	p.one.drain()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.keyed {
		q.drain()
	}
}

// pool is the connections that are alike.
type pool struct {
	owner *pools
	key   key
	http1 pool1
	http2 pool2
	// learned is what ALPN gave the last time, for auto_config.
	learned atomic.Uint32
}

const (
	notLearned uint32 = iota
	learnedHTTP1
	learnedHTTP2
)

// What is offered by ALPN.
var (
	offerHTTP1 = []string{"http/1.1"}
	offerHTTP2 = []string{"h2"}
	offerBoth  = []string{"h2", "http/1.1"}
)

func newPool(owner *pools, k key) *pool {
	p := &pool{owner: owner, key: k}
	p.http1.pool, p.http2.pool = p, p
	return p
}

func (p *pool) endpoint() *Endpoint { return p.owner.endpoint }

// begin starts an exchange. If fresh is set, on a connection that carried none before.
func (p *pool) begin(x *exchange, fresh bool) error {
	switch p.owner.transport.protocol {
	case speakHTTP2:
		return p.http2.begin(x, offerHTTP2)
	case speakDownstream:
		if x.pc.Downstream >= message.HTTP2 {
			return p.http2.begin(x, offerHTTP2)
		}
	case speakNegotiated:
		return p.negotiate(x, fresh)
	}
	return p.http1.begin(x, offerHTTP1, fresh)
}

// negotiate speaks what ALPN gives: who comes first connects, all others wait for what comes of it.
func (p *pool) negotiate(x *exchange, fresh bool) error {
	for range 3 {
		switch {
		case p.owner.transport.tls == nil || p.learned.Load() == learnedHTTP1:
			err := p.http1.begin(x, offerBoth, fresh)
			if err != errOtherProtocol {
				return err
			}
		default:
			err := p.http2.begin(x, offerBoth)
			if err != errOtherProtocol {
				return err
			}
		}
	}
	return errOtherProtocol
}

// learn takes a connection that speaks the protocol which was not expected to the half it belongs to.
func (p *pool) learn(nc net.Conn, negotiated string, priority Priority) {
	if negotiated == "h2" {
		p.learned.Store(learnedHTTP2)
		p.http2.adopt(nc, priority)
		return
	}
	p.learned.Store(learnedHTTP1)
	p.http1.adopt(nc, priority)
}

func (p *pool) drain() {
	p.http1.drain()
	p.http2.drain()
}

func (p *pool) idle() bool { return p.http1.empty() && p.http2.empty() }

func (p *pool) dial(ctx context.Context, alpn []string) (net.Conn, string, error) {
	return p.endpoint().dial(ctx, p.owner.transport, p.key, alpn)
}
