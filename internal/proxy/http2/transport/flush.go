package transport

import (
	"runtime"
	"time"
)

// lend gives the state machine memory to write into, if it has none.
func (c *conn) lend() {
	if c.lent == nil && c.h2.Pending() == 0 {
		c.lent = sendBuffers.Get().(*buffer)
		c.lent.b = c.h2.Swap(c.lent.b)
	}
}

// kick sees to it that what is to be sent is. It does not wait.
func (c *conn) kick() {
	switch {
	case c.flushing:
	case c.h2.Pending() == 0 || c.dead:
		c.takeBack()
	default:
		c.startFlush()
	}
}

func (c *conn) startFlush() {
	if !c.flushing {
		c.flushing = true
		c.flushers.Add(1)
		go c.flush()
	}
}

// takeBack keeps the memory of a connection that has nothing to send for others.
func (c *conn) takeBack() {
	if c.lent != nil {
		c.lent.b = c.h2.Swap(nil)
		keepSendBuffer(c.lent)
		c.lent = nil
	}
}

// write writes until there is nothing to write. Whoever is ready to run gets a turn first, and adds to what leaves in one write.
func (c *conn) write() {
	defer c.flushers.Done()
	runtime.Gosched()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.h2.Pending() > 0 && !c.dead {
		next := sendBuffers.Get().(*buffer)
		full := c.lent
		if full == nil {
			full = &buffer{}
		}
		full.b = c.h2.Swap(next.b)
		c.lent = next
		c.takes++
		c.writeSince = c.now()
		c.mu.Unlock()
		_, err := c.nc.Write(full.b)
		c.mu.Lock()
		c.writeSince = 0
		keepSendBuffer(full)
		if err != nil {
			c.end(err)
			c.nc.Close() // the reader sees it
			break
		}
		c.wake()
	}
	c.flushing = false
	if c.h2.Pending() == 0 {
		c.takeBack()
	}
	if c.ending && !c.dead {
		if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			c.nc.SetReadDeadline(time.Now().Add(lingerTimeout))
		} else {
			c.nc.Close()
		}
	}
}

// wake lets those try again who wait for the connection.
func (c *conn) wake() {
	for i, s := range c.waiting {
		s.queued = false
		s.writing.signal()
		c.waiting[i] = nil
	}
	c.waiting = c.waiting[:0]
}
