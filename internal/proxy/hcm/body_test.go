package hcm

import (
	"bytes"
	"io"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// pieces is a client that sends a body in pieces.
type pieces struct {
	message.ServerStream
	left  chan []byte
	asked atomic.Int64 // for how many
	given atomic.Int64
}

func (p *pieces) Read(b []byte) (int, error) {
	p.asked.Add(1)
	piece, ok := <-p.left
	if !ok {
		return 0, io.EOF
	}
	p.given.Add(1)
	return copy(b, piece), nil
}

func (*pieces) RequestTrailers() *message.Fields { return nil }
func (*pieces) SetReadDeadline(time.Time) error  { return nil }

// collector is an endpoint that keeps what it is sent.
type collector struct {
	message.ClientStream
	got      bytes.Buffer
	once     sync.Once
	finished chan struct{}
}

func newCollector() *collector { return &collector{finished: make(chan struct{})} }

func (c *collector) Write(p []byte) (int, error)      { return c.got.Write(p) }
func (c *collector) Flush() error                     { return nil }
func (c *collector) SetReadDeadline(time.Time) error  { return nil }
func (c *collector) SetWriteDeadline(time.Time) error { return nil }

func (c *collector) Finish(*message.Fields) error {
	c.once.Do(func() { close(c.finished) })
	return nil
}

// sending is an exchange whose body comes in pieces and may be sent again.
func sending(from *pieces) *exchange {
	x := &exchange{m: &Manager{}, stream: from}
	x.body.init(x)
	x.body.keeping = true
	return x
}

// A second attempt gets the body once and whole, whenever it begins. Many rounds try to have it begin while a piece is on its way.
func TestSecondAttemptGetsTheBodyOnce(t *testing.T) {
	for round := range 5000 {
		from, want := &pieces{left: make(chan []byte, 4)}, ""
		for i := range cap(from.left) {
			piece := strconv.Itoa(i) + " "
			from.left <- []byte(piece)
			want += piece
		}
		close(from.left)
		x := sending(from)
		one, two := newCollector(), newCollector()
		x.body.start(one, false)
		for from.given.Load() < 2 { // until a piece is about to be kept
		}
		for range round % 64 {
			from.given.Load()
		}
		x.body.pause()
		x.body.start(two, true)
		<-two.finished
		x.body.stop()
		if got := two.got.String(); got != want {
			t.Fatalf("round %d: the second attempt got %q", round, got)
		}
	}
}

// What comes while there is no attempt and is too much to be kept is the next attempt's, behind what was kept.
func TestNothingIsLostBetweenAttempts(t *testing.T) {
	from := &pieces{left: make(chan []byte)}
	x := sending(from)
	one, two := newCollector(), newCollector()
	x.body.start(one, false)
	var want []byte
	send := func() {
		piece := bytes.Repeat([]byte{byte(len(want))}, 10000)
		want = append(want, piece...)
		from.left <- piece
	}
	for len(want)+10000 <= keepBytes {
		send()
	}
	for from.asked.Load() <= int64(len(want)/10000) { // until the next is waited for
		runtime.Gosched()
	}
	x.body.pause()
	if !x.body.again() {
		t.Fatal("there could be no other attempt")
	}
	send() // is read: the exchange waits before it tries again
	go func() {
		defer close(from.left)
		for range 3 {
			from.left <- []byte("more")
		}
	}()
	if !x.body.again() {
		t.Fatal("there can be no other attempt any more")
	}
	want = append(want, "moremoremore"...)
	x.body.start(two, true)
	<-two.finished
	x.body.stop()
	if got := two.got.Bytes(); !bytes.Equal(got, want) {
		t.Errorf("the second attempt got %d bytes of %d", len(got), len(want))
	}
}

// An attempt is not given up for another once there is more of the body than is kept.
func TestRewind(t *testing.T) {
	from := &pieces{left: make(chan []byte)}
	x := sending(from)
	one := newCollector()
	x.body.start(one, false)
	from.left <- []byte("a")
	for range keepBytes/10000 + 1 {
		from.left <- make([]byte, 10000)
	}
	close(from.left)
	<-one.finished
	if x.body.rewind() {
		t.Error("another attempt would have a part of the body")
	}
	if x.body.to == nil {
		t.Error("the attempt lost its body")
	}
	x.body.stop()
}
