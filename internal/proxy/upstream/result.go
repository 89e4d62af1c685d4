package upstream

// Failure is how a try failed on our side of the connection.
type Failure uint8

const (
	// NoFailure: there was a response.
	NoFailure Failure = iota
	// ConnectFailed: no connection came about. Start and Dial tell this themselves.
	ConnectFailed
	// TimedOut: a timeout of the route ended the try.
	TimedOut
	// Reset: the endpoint reset the stream, closed the connection or broke the protocol.
	Reset
)

// Result is what came of a try.
type Result struct {
	// Status is the response's, for gRPC the HTTP status that the grpc-status corresponds to; 0 if there was none.
	Status  int
	Failure Failure
}

// Done tells what came of an exchange: once for each that was started and was not given up for a reason that lies with the client.
func (e *Endpoint) Done(r Result) {
	c := e.cluster
	switch r.Failure {
	case TimedOut:
		c.stats.rqTimeout.Add(1)
		e.stats.rqTimeout.Add(1)
	case Reset:
		c.stats.rqReset.Add(1)
	}
	if class := r.Status / 100; class >= 1 && class <= 5 {
		c.stats.rqClass[class].Add(1)
	}
	if r.Failure != NoFailure || r.Status >= 500 {
		e.stats.rqError.Add(1)
	} else {
		e.stats.rqSuccess.Add(1)
	}
	if o := c.config.Load().outlier; o != nil {
		e.observe(o, r)
	}
}

// BeginRetry asks whether the circuit breaker allows another retry now; if so, EndRetry is to be called when that is over.
func (c *Cluster) BeginRetry(p Priority) bool {
	b := &c.breakers[p]
	if !take(&b.retries, b.retryLimit(&c.config.Load().limits[p])) {
		c.stats.rqRetryOverflow.Add(1)
		return false
	}
	c.stats.rqRetry.Add(1)
	return true
}

// EndRetry ends a retry that BeginRetry allowed; success says that its response was the one that went to the client.
func (c *Cluster) EndRetry(p Priority, success bool) {
	c.breakers[p].retries.Add(-1)
	if success {
		c.stats.rqRetrySuccess.Add(1)
	}
}
