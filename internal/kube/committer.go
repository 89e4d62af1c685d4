package kube

import (
	"github.com/weftmesh/weft/internal/store"
)

const (
	// queueLength is how many changes wait to be committed. When it is full the watches are not read, and the API server keeps what
	// they have not read yet.
	queueLength = 1024
	// batchLength is how many changes one commit takes.
	batchLength = 1024
)

// change is one thing to do in a commit, and what to do once that has returned.
type change struct {
	apply    func(*store.Tx)
	position string // what the commit brings the store to; see store.Tx.At
	after    func() // nil is nothing
}

// committer brings changes into the store in the order they are sent. All that wait are committed together: under a burst, the store
// works less, not later.
type committer struct {
	src   *store.Source
	queue chan change
}

func (c *committer) init(src *store.Source) {
	c.src = src
	c.queue = make(chan change, queueLength)
}

// send queues a change; it waits while the queue is full. Something must be running run.
func (c *committer) send(ch change) { c.queue <- ch }

// close makes run return once everything sent is committed. Nothing may be sent after it.
func (c *committer) close() { close(c.queue) }

func (c *committer) run() {
	batch := make([]change, 0, batchLength)
	for first := range c.queue {
		batch = append(batch[:0], first)
	more:
		for len(batch) < batchLength {
			select {
			case ch, ok := <-c.queue:
				if !ok {
					break more
				}
				batch = append(batch, ch)
			default:
				break more
			}
		}
		c.src.Commit(func(tx *store.Tx) {
			for _, ch := range batch {
				ch.apply(tx)
				if ch.position != "" {
					tx.At(ch.position)
				}
			}
		})
		for _, ch := range batch {
			if ch.after != nil {
				ch.after()
			}
		}
		clear(batch)
	}
}
